"""What services ask of the store, a module a subject; they know nothing of Redis.

Deadlines are times of the event loop's clock, in seconds. Every method that takes one raises AudienceError UNAVAILABLE
when the cluster has not answered by then.

May use settings. Used by the rest of the store, and by every room above it.
"""
