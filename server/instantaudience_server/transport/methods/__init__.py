"""The methods that are served: those of the API, a module a service, those that every gRPC server has, the gateway's.

May use what calls are, the wire format, the table of errors, and the rooms of the services.
Used by running; the gateway has the path of its own method from here.
"""
