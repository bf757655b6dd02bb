"""The three hosts: `native`, `envoy` and `grpcio`. Each hands over what callers sent, and has calls served.

May use calls, the wire format and the table of errors; they know no method and no other host.
Used by running, which starts one of them.
"""
