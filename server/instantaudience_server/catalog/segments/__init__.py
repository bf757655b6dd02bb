"""Segments for REST callers, in the terms of the original platform: read, create, change, remove.

May use the rest of catalog, admission (quotas), segment_sizes, and the store's interfaces. Used by transport and
running.
"""
