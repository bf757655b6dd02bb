"""The two hosts: `native`, and `grpcio`, the portable reference. Each serves callers by running the pipeline.

May use calls, the wire format, the table of errors, the constants of admission, quotas (for their counts), and catalog
(for callers). They depend on no particular method and on no other host.
Used by running, which starts one of them.
"""
