"""A network that slides down an image, band by band, in memory that does not grow with the height.

A step takes the next band of rows and the rows that each operation kept, and gives finished rows and the rows to keep.
`plan` derives it from the network's exported graph: `flow` says how many rows each map has and how late it is,
`overlaps` which rows are kept and which are computed again, `schedule`, in plain numbers, which rows are where.
"""
