"""Where an Envoy has its files."""

from support.gateway.fixtures import directory

__all__ = ["directory"]
