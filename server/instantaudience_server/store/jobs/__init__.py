"""The jobs of the batch service: their hashes, queues, leases and uploads, and the scripts that change them at once.

May use the cluster client, the store's interfaces and keys, process and errors. Used by running.
"""
