"""The batch service: jobs that apply uploaded files of memberships, and that go on after an interruption.

`reading` parses files, `uploads` receives and stores them. May use memberships, usage, catalog, admission,
segment_sizes, suppressions, and the store's interfaces and keys. Used by transport, running and diagnosis.
"""
