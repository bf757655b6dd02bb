"""The gateway: Envoy, from its configuration to the web page that it serves.

Used by the server's rooms running and commands; uses the server's table of errors, and the proto descriptor.
"""
