"""Serves the API over gRPC: the three hosts, the processing of calls, the methods, and the one table of errors.

May use the packages of the services; it alone imports grpc.
Used by running; by the gateway for the table of errors; by commands for their gRPC client.
"""
