"""Envoy itself: its configuration, its admin interface, and what it needs to run the service inside.

May use contract.
Used by the server's room running.
"""
