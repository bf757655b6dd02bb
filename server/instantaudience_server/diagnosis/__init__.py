"""What is wrong with a deployment, and how to mend it: its cluster, its certificates, the service that runs.

May use running, store, settings and below.
Used by commands.
"""
