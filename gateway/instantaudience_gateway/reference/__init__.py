"""The reference of the REST API: the OpenAPI document, and a page that shows it.

May use files.
Used by contract, and by the server's commands, which say where it is.
"""
