"""Reads requests to apply memberships: resolves their users, validates them, and determines changes and warnings.

May use catalog, applied, and the store's interfaces. Used by the rest of memberships, by batch and transport.
"""
