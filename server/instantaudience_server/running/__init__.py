"""The processes of the service: starts them, keeps them running, and constructs the parts of a worker.

May use the gateway and every package but commands; no other package constructs parts of others. Used by commands,
and by diagnosis, which reads certificates and the settings for traces in the same way.
"""
