"""Files of memberships: what they say, and how it is applied, so that a job that breaks off can go on.

May use memberships, usage, catalog, admission, segment_sizes, and the store's interfaces.
Used by transport and running.
"""
