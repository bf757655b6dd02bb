"""Everything that the cluster holds and that cannot be had again, in a file, and back into a cluster.

May use all of the store, and how catalog and memberships revoke tokens and remove users once more.
Used by commands.
"""
