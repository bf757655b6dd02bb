"""Applying and reading memberships: whom a request means, what of it is valid, and what it changes.

May use usage, catalog, quotas, segment_sizes, suppressions, applied, and the store's interfaces.
Used by batch, transport and running, and by backup for when suppressed users are removed once more.
"""
