"""Processes calls from their arrival at a host to their outcome, in the same way for all hosts.

May use the wire format, the table of errors, admission, sign_in (tokens), usage, the store's interfaces, catalog (for
callers), and memberships (for posts).
Used by hosts, methods and running; by the gateway for limits.
"""
