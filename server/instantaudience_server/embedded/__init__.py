"""The embedded cluster: three primaries in child processes, for deployments without a Redis Cluster of their own.

May use process and, of the store, the required server versions and the number of slots. Used by running; by diagnosis
and commands to find one that runs, and by commands for its errors.
"""
