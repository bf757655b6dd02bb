"""The processes of the service: what starts them and keeps them running, and what wires a worker's parts together.

May use the gateway and every room but commands; nothing else makes parts of other rooms.
Used by commands, and by diagnosis, which reads certificates and where traces go as it does.
"""
