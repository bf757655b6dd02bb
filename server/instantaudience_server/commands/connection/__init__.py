"""How commands reach a service: where it is, who calls it, by which token, and over what.

May use the demo catalog and transport's gRPC client; it knows no command.
Used by every command that has to do with a running service.
"""
