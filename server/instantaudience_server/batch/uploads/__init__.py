"""Uploads of files: members' limits, receiving, and the store in which files are kept until their job has ended.

May use batch's content and jobs, catalog, admission, and the store's interfaces. Used by the rest of batch, transport,
running and diagnosis.
"""
