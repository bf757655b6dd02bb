"""The processes of the service: starts them, keeps them running, and constructs the parts of a worker.

May use the gateway and every room but commands; no other room constructs parts of other rooms. Used by commands, and by
diagnosis, which reads certificates and the settings for traces in the same way.
"""
