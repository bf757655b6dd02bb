"""Everything that is kept in the Redis Cluster: the keys, and for each subject a module (`…_store`) that reads and
writes it.

Services depend on `interfaces` (and `keys`) alone; running, backup and diagnosis use the stores themselves. May use
settings, errors, metrics and telemetry. No room but this one and embedded imports redis or hiredis.
"""
