"""The console: its page, and how it is served.

May use files.
Used by contract.
"""
