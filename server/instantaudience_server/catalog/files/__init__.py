"""Catalogs in files: read, checked and written as YAML; the first catalog of a deployment; objects taken in by import.

May use the rest of catalog, passwords, settings, process, and the store's interfaces. Used by transport, running and
commands.
"""
