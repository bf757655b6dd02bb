"""Applies and reads memberships: resolves users, validates requests, and writes their changes to the cluster.

May use usage, catalog, admission (quotas), segment_sizes, suppressions, applied, and the store's interfaces.
Used by batch, transport and running; backup uses the times at which suppressed users are removed again.
"""
