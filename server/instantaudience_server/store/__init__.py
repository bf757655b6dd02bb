"""Everything in the Redis Cluster: keys, commands, connections; `…interface.py` is what services ask of it.

May use errors, metrics and telemetry; it and embedded alone import redis and hiredis.
Used by every room above it: by running as it is, by the others through the interfaces.
"""
