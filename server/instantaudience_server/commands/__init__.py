"""The command line: a module for each group of commands.

May use every other package; of a running service it knows no more than its callers do (`connection/`).
Used by nobody: the script `instant-audience` and `__main__.py` enter here.
"""
