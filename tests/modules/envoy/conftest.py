"""An Envoy and gRPC's way to it."""

from support.gateway.fixtures import channel, directory, gateway, shared_upstream, upstream

__all__ = ["channel", "directory", "gateway", "shared_upstream", "upstream"]
"""Fixtures that are imported."""
