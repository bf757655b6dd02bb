"""The cluster client: sends commands to the nodes that serve their slots, and returns the replies.

May use the store's interfaces and keys, settings, errors, process and observation. Used by the rest of the store
and by the packages that connect to a cluster: running, backup, diagnosis; embedded and commands use only the required
server versions and the error for clusters that cannot be used.
"""
