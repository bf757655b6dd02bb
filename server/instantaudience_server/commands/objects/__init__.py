"""The commands for single objects of the catalog: `member`, `segment`, `user`.

May use connection and printing, and the names of the catalog's fields.
Used by the root, which finds commands by their names.
"""
