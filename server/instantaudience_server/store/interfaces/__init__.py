"""The store's interfaces, one module for each subject. Services depend on them and know nothing of Redis.

Deadlines are times of the event loop's clock, in seconds. Every method that takes one raises AudienceError UNAVAILABLE
when the cluster has not answered by then. In names, `_ms` is a duration or a Unix time in milliseconds.

May use settings. Used by the rest of the store, and by every package above it.
"""
