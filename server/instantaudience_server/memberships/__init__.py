"""Applying and reading memberships: whom a request means, what of it is valid, and what it changes.

May use usage, catalog, quotas, segment_sizes, suppressions, applied, and the store's interfaces.
Used by batch, transport and running.
"""
