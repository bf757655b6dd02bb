"""Certificates: read and checked in the supervisor, handed to the processes that serve, noted when they end.

May use the gateway, process, settings and observation. Used by the rest of running, and by diagnosis, which checks them
in the same way.
"""
