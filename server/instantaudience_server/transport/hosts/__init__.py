"""The three hosts: `native`, `envoy` and `grpcio`. Each hands over what callers sent, and has calls served.

May use calls, the wire format, the table of errors, the terms of admission, and who calls (catalog); they know no
method and no other host.
Used by running, which starts one of them.
"""
