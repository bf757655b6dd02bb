"""Accounts: made, changed and removed, with their passwords and public keys.

May use the rest of catalog, passwords, admission (quotas), process, and the store's interfaces. Used by the rest of
catalog, sign_in, transport and running.
"""
