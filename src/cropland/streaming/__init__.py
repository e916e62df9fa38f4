"""A network that slides down an image: every row is computed once, in memory that does not grow with the height.

A step takes the next band of rows and the rows that each operation kept, and gives finished rows and the rows to keep.
`plan` derives it from the network's exported graph, `schedule` says, in plain numbers, which rows are where.
"""
