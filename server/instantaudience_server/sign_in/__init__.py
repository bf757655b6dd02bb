"""Sign-in by password or by key pair, and the tokens that callers get by it.

May use catalog, passwords, and the store's interfaces. Used by running and transport.
"""
