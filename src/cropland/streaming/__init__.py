"""A network that slides down an image, band by band, in memory that does not grow with the height.

A step takes the next band of rows and the rows that each operation kept, and gives finished rows and the rows to keep.
`step` derives it from the network's `program`: `row_rules` says which rows an operation reads, `flow`, which walks the
graph, how many rows each map has and how late it is, `kept_rows` which rows are kept and which are computed again, and
`schedule`, in plain numbers, which rows are where. `receptive_field` goes the same walk.
"""
