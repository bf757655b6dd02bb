"""Admission: decides which calls run, which wait for their turn, and which are refused before they cost anything.

May use errors and metrics.
Used by transport, by batch, and by running, which makes it.
"""
