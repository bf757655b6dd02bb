"""Hashing passwords: in a process of its own, one at a time; how often one may guess.

May use the store's interfaces, processes, clock and errors.
Used by catalog, sign_in and running.
"""
