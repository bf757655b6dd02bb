"""The methods that are served: those of the API (one module for each service), gRPC's standard ones, and the gateway's.

May use calls, the wire format, the table of errors, and the packages of the services.
Used by running; by the gateway for the path of its own method.
"""
