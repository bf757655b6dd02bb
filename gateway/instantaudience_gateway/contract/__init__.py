"""The REST contract at the gateway: the Lua filter, the gateway's own replies, and what it knows of the API.

May use console, and of the server the reasons and the table of errors.
Used by envoy.
"""
