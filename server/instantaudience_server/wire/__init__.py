"""How numbers, and fields of encoded messages, are written in bytes.

May use nothing of the service. Used by memberships, usage, batch and sending.
"""
