"""The console: its page, and how it is served.

May use nothing.
Used by contract.
"""
