"""Envoy itself: its configuration, its admin interface, and what it needs to run the service inside.

May use contract and files; of the server, the names of headers that it sets, and its settings.
Used by the server's room running.
"""
