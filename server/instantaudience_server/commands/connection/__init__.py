"""How commands reach a service: its URL, the caller's credentials, the token, TLS.

May use the demo catalog and transport's gRPC client; it knows no command.
Used by every command that has to do with a running service.
"""
