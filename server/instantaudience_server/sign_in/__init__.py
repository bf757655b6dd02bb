"""Sign-in by password or by key pair.

May use tokens, catalog, passwords, and the store's interfaces. Used by running and transport.
"""
