"""What is logged and measured: log events, metrics and the files in which processes keep them, spans of calls.

May use nothing of the service. Used by every package above it.
"""
