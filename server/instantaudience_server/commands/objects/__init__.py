"""The commands for the catalog's objects one by one: `member`, `segment`, `user`.

May use connection and printing, and the names of the catalog's fields.
Used by the root, which finds commands by their names.
"""
