"""The two hosts: `native`, and `grpcio`, the portable reference. Each serves callers by running the pipeline.

May use calls, the wire format, the table of errors, admission (its constants, and the counts of quotas), and catalog
(for callers). They depend on no particular method and on no other host.
Used by running, which starts one of them.
"""
