"""Everything that the cluster holds and that cannot be had again, in a file, and back into a cluster.

May use store, clock and below.
Used by commands.
"""
