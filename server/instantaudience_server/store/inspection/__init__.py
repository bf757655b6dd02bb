"""Inspection of a cluster: what its nodes report, and what the service requires of them.

The service itself does not use it. May use the store's cluster and keys. Used by diagnosis and backup.
"""
