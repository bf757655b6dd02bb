"""Backup and restore: writes all irreplaceable data of the cluster into a file, and puts it back into a cluster.

May use all of the store, and what catalog and memberships have to revoke tokens and to remove suppressed users. Used by
commands.
"""
