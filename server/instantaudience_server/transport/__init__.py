"""gRPC on the wire: the three hosts, what happens to every call, whose each method is, and the one table of errors.

May use the rooms of the services; it alone imports grpc.
Used by running; the gateway has the table of errors from here, commands their gRPC client.
"""
