"""An Envoy and REST's way to it."""

from support.gateway_fixtures import client, directory, gateway, shared_upstream, upstream

__all__ = ["client", "directory", "gateway", "shared_upstream", "upstream"]
"""Fixtures that are imported."""
