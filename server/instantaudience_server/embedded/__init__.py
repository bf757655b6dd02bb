"""The cluster that the service brings along: three primaries in child processes.

May use processes, and of the store which servers and how many slots there have to be.
Used by running; by diagnosis and commands to find one that runs, and by commands for its errors.
"""
