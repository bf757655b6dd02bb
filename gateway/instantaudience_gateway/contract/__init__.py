"""The REST contract at the gateway: the Lua filter, the gateway's own replies, and the shape of the API.

May use console, reference and files; of the server, the table of errors and what else both sides have to name alike.
Used by envoy, and by the server's package running for a host that reads JSON.
"""
