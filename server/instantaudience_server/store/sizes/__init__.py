"""What a HyperLogLog does with users, so that what changes no segment's size need not be sent.

May use the store's interfaces and native keys. Used by `segment_size_store`.
"""
