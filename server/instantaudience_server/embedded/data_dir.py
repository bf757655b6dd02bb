"""The data directory of an embedded cluster: one cluster at a time has it, and it keeps the nodes' ports."""

import asyncio
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog
from pydantic import SecretStr

from instantaudience_server import private_files
from instantaudience_server.embedded.node import HOST, POLL_SECONDS
from instantaudience_server.embedded.server import EmbeddedClusterError
from instantaudience_server.processes import free_ports, port_is_free
from instantaudience_server.telemetry import Event

_LOCK_SECONDS = 1.0
_PORTS = "ports.json"
_PASSWORD_BYTES = 32
_OWN_ID = re.compile(r"^([0-9a-f]{40}) \S+ \S*\bmyself\b", re.MULTILINE)
_ADDRESS = re.compile(rf"^([0-9a-f]{{40}}) {re.escape(HOST)}:\d+@\d+", re.MULTILINE)

_log = structlog.get_logger()


class DataDirInUseError(EmbeddedClusterError):
    """Another embedded cluster runs on the data directory."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"{data_dir} is in use by another process: stop it, or use another data directory")


class NoClusterError(Exception):
    """No cluster is named, and no embedded one is found; the message says why."""


async def locked(data_dir: Path) -> int:
    """Lock the directory, until the file descriptor that this returns is closed.

    Waits a moment: nodes hold the lock too, and those of a killed supervisor are ending.

    Raises:
        DataDirInUseError: somebody else has the lock.
    """
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    raise DataDirInUseError(data_dir) from None
            await asyncio.sleep(POLL_SECONDS)
    except BaseException:
        os.close(lock)
        raise


def kept_ports(data_dir: Path, nodes: int) -> list[tuple[int, int]]:
    """The client and bus port of each of so many nodes.

    Those of the last start if all are free, else new ones, which are kept.
    """
    ports = _kept(data_dir)
    if len(ports) == nodes:
        if all_free(ports):
            return ports
        _log.warning(Event.EMBEDDED_CLUSTER_PORTS_TAKEN, data_dir=str(data_dir), ports=ports)
    found = free_ports(HOST, 2 * nodes)
    ports = list(zip(found[::2], found[1::2], strict=True))
    private_files.write(data_dir / _PORTS, json.dumps(ports))
    return ports


def introduce(data_dir: Path, ports: Sequence[tuple[int, int]]) -> None:
    """Have each node's `nodes.conf` say where the others will be.

    At their former addresses may be nodes of the same names, those of a copy of the directory: they would be taken for
    the others, and what belongs to one cluster be written to another.
    """
    files = [data_dir / f"node-{number}" / "nodes.conf" for number in range(1, len(ports) + 1)]
    texts = [_read(file) for file in files]
    addresses = {
        own[1]: f"{own[1]} {HOST}:{port}@{bus_port}"
        for text, (port, bus_port) in zip(texts, ports, strict=True)
        if (own := _OWN_ID.search(text))
    }
    for file, text in zip(files, texts, strict=True):
        now = _ADDRESS.sub(lambda line: addresses.get(line[1], line[0]), text)
        if now != text:
            private_files.write(file, now)


def kept_password(data_dir: Path) -> str:
    """The password of the cluster's nodes: made at the first start, and kept for the owner of the directory alone."""
    if not _password(data_dir):
        private_files.write(data_dir / "password", secrets.token_hex(_PASSWORD_BYTES))
    return _password(data_dir)


def all_free(ports: Iterable[tuple[int, int]]) -> bool:
    """Whether nobody has any of the nodes' ports."""
    return all(port_is_free(HOST, port) for pair in ports for port in pair)


def cluster_url(redis: SecretStr | None, data_dir: Path) -> str:
    """The URL of the cluster that is named, or else of the embedded one that runs on the directory.

    Raises:
        NoClusterError: there is neither.
    """
    if redis is not None:
        return redis.get_secret_value()
    try:
        url = url_of(data_dir)
    except OSError as error:
        raise NoClusterError(f"{error.filename} cannot be read: {error.strerror}") from error
    if url is None:
        raise NoClusterError(f"no embedded cluster runs on {data_dir}")
    return url


def url_of(data_dir: Path) -> str | None:
    """An address of the cluster that runs on the directory, with its password; None where none does: at the ports that
    a copy of a directory names, the original's nodes may be, with its password."""
    ports, password = _kept(data_dir), _password(data_dir)
    if not (ports and password and _is_locked(data_dir)):
        return None
    return f"redis://:{password}@{HOST}:{ports[0][0]}"


def _is_locked(data_dir: Path) -> bool:
    try:
        with (data_dir / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _kept(data_dir: Path) -> list[tuple[int, int]]:
    """The ports that were kept; none where something else stands in their file: nodes learn new ones anyway."""
    try:
        pairs = [(int(port), int(bus_port)) for port, bus_port in json.loads(_read(data_dir / _PORTS))]
    except (ValueError, TypeError, RecursionError):
        return []
    return pairs if all(1 <= port <= 65_535 for pair in pairs for port in pair) else []


def _password(data_dir: Path) -> str:
    """The password that was kept, without the line end that an editor may have added."""
    return _read(data_dir / "password").strip()


def _read(file: Path) -> str:
    """What stands in a file; nothing where there is none."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
