"""What partners read and change of segments over REST, in the words of the original platform.

May use the rest of catalog, quotas, segment_sizes, and the store's interfaces. Used by transport and running.
"""
