"""Files of users, read and followed while they are sent.

May use wire and process alone: what it reads goes to the service through its Python client.
Used by `commands`: `instant-audience send`.
"""
