"""The console: its page, and how it is served.

May use files.
Used by contract, and by the server's commands, which say where it is.
"""
