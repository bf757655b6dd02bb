"""What a request says: whom it means, what of it is valid, what it changes, and what of it is skipped.

May use catalog, applied, and the store's interfaces. Used by the rest of memberships, by batch and transport.
"""
