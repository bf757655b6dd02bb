"""Certificates and keys of callers and servers."""
