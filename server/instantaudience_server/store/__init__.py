"""Everything that is kept in the Redis Cluster: the keys, and for each subject a module (`…_store`) that reads and
writes it.

No other package but embedded imports redis or hiredis. May use settings, errors, process and observation. Used by every
package above it: running, backup and diagnosis use the stores themselves, services depend on `interfaces` and `keys`
alone.
"""
