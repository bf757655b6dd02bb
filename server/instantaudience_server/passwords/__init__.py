"""Passwords: hashed in a process of its own, one at a time; and the limit on guesses.

May use the store's interfaces, process, observation and errors. Used by catalog, sign_in and running.
"""
