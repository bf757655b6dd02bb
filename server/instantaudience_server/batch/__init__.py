"""Files of memberships: jobs of them, and how they are applied, so that a job that breaks off can go on.

`reading` is what files say, `uploads` how they come in. May use memberships, usage, catalog, admission, quotas,
segment_sizes, suppressions, and the store's interfaces and keys. Used by transport, running and diagnosis.
"""
