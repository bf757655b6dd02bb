"""Envoy itself: its configuration and its admin interface.

May use contract and files; of the server, the names of headers that it sets, and its settings.
Used by the server's package running.
"""
