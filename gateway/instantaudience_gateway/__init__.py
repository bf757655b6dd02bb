"""The gateway: Envoy's configuration, the REST contract, and the web pages that Envoy serves.

Used by the server's packages running and commands; uses the server's table of errors, and the proto descriptor.
"""
