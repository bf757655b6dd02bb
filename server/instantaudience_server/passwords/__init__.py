"""Hashing passwords: in a process of its own, one at a time.

May use errors alone.
Used by tokens, catalog and running.
"""
