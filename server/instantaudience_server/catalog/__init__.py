"""Members, accounts and segments: in a worker's memory, in files, changed while the service runs; who may use what.

May use passwords, quotas, segment_sizes, and the store's interfaces.
Used by tokens, usage, sign_in, memberships, batch, transport, running, diagnosis, backup, and commands (files).
"""
