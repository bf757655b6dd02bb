"""Certificates and keys that callers and servers show."""
