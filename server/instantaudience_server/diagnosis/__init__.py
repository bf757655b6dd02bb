"""What is wrong with a deployment, and how to mend it: its cluster, its certificates, the service that runs.

May use running, batch's store of files, catalog, embedded, and all of the store.
Used by commands.
"""
