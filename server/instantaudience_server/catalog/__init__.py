"""The catalog of members, users (accounts) and segments: in memory, in files, edited at run time; and access rights.

May use passwords, admission (quotas), segment_sizes, and the store's interfaces. Used by usage, sign_in, memberships,
batch, transport, running, diagnosis, backup, and commands (files).
"""
