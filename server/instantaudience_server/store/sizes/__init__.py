"""A model of the cluster's HyperLogLogs in the worker, by which additions that cannot change a segment's size are not
sent.

May use the store's interfaces and native keys. Used by `segment_size_store`.
"""
