"""What a cluster says of itself, and what it has to be like: for whoever judges one, not for the service.

May use the store's cluster and keys. Used by diagnosis and backup.
"""
