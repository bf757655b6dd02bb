"""Where an Envoy has its files."""

from support.gateway_fixtures import directory

__all__ = ["directory"]
