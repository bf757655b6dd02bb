"""Passwords: hashed in a process of its own, one at a time; and the limit on guesses.

May use the store's interfaces, processes, telemetry, clock and errors. Used by catalog, sign_in and
running.
"""
