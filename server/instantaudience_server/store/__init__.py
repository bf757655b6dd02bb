"""Everything in the Redis Cluster: its keys, and for each subject a module that keeps it there (`…_store`).

`interfaces` is what services ask of these. May use settings, errors, metrics and telemetry; it and embedded alone
import redis and hiredis. Used by every room above it: by running, backup and diagnosis as it is, by services through
the interfaces, and keys.
"""
