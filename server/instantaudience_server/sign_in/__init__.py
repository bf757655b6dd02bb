"""Signing in: by password or by key pair.

May use tokens, catalog, passwords, store, metrics, clock and errors.
Used by running and transport.
"""
