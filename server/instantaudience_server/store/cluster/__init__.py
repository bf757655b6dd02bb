"""How commands reach the nodes of the cluster, and their answers come back.

May use the store's interfaces and keys, settings, errors, metrics, telemetry and tracing. Used by the rest of the
store, and by whoever connects to a cluster: running, backup, diagnosis; embedded and commands have from here which
servers will do, and the error where they do not.
"""
