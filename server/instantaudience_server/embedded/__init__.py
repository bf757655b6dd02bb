"""The cluster that the service brings along: three primaries in child processes.

May use processes, and of the store which servers it needs.
Used by running, and by commands for its errors.
"""
