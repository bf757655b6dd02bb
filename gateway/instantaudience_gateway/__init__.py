"""The gateway: Envoy, from its configuration to the web page that it serves.

Used by the server's room running; uses the server's table of errors, and the proto descriptor.
"""
