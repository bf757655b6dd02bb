"""An Envoy and REST's way to it."""

from support.gateway.fixtures import anyone, client, directory, gateway, shared_upstream, upstream

__all__ = ["anyone", "client", "directory", "gateway", "shared_upstream", "upstream"]
"""Fixtures that are imported."""
