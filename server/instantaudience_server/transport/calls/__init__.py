"""Calls, whichever host they came in through: what they are, and what happens to every one.

May use the wire format, the table of errors, admission, tokens, usage, the store's interfaces, who calls (catalog),
and of memberships what is carried out together.
Used by hosts, methods and running; the gateway has bounds from here.
"""
