"""The methods that are served: each service of the API has them in a module of its own; so do gRPC's standard services,
and the gateway, which has calls counted that it refuses.

May use what calls are, the wire format, the table of errors, and the rooms of the services.
Used by running; the gateway has the path of its own method from here.
"""
