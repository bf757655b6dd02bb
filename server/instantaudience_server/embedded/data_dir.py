"""The data directory of an embedded cluster: its lock, and the nodes' ports, addresses and password."""

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

from instantaudience_server.embedded.node import HOST, POLL_SECONDS
from instantaudience_server.embedded.server import EmbeddedClusterError
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process import private_files
from instantaudience_server.process.processes import free_ports, port_is_free

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


class NodeLostError(EmbeddedClusterError):
    """A node of a cluster that was formed has no files any more."""

    def __init__(self, data_dir: Path, names: Sequence[str]) -> None:
        super().__init__(
            f"{data_dir} lacks what {', '.join(names)} had (nodes.conf): put it back from a copy, or start with an "
            "empty data directory, and restore a backup into that"
        )


class NoClusterError(Exception):
    """No cluster is named, and no embedded one is found; the message says why."""


async def locked(data_dir: Path) -> int:
    """Lock the directory until the returned file descriptor, and the nodes' copies of it, are closed.

    Waits for `_LOCK_SECONDS`: nodes hold the lock too, and those of a supervisor that was killed may still be ending.

    Raises:
        DataDirInUseError: another process has the lock.
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
    """The client port and bus port of each of `nodes` nodes: those of the last start if all are free, else new ones,
    which are written to the directory."""
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
    """Write the nodes' new addresses into each node's `nodes.conf`.

    At their former addresses, there may now be nodes with the same IDs, started on a copy of the directory. Nodes would
    take those for their own peers, and the two clusters would mix.

    Raises:
        NodeLostError: nodes know each other, but one has no such file: it would begin as another node, whose slots the
            others take for those of the one that is gone.
    """
    files = [data_dir / f"node-{number}" / "nodes.conf" for number in range(1, len(ports) + 1)]
    texts = [_read(file) for file in files]
    lost = [file.parent.name for file, text in zip(files, texts, strict=True) if not text]
    if lost and any(len(_ADDRESS.findall(text)) > 1 for text in texts):
        raise NodeLostError(data_dir, lost)
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
    """The password of the cluster's nodes. It is made at the first start, in a file for its owner alone."""
    if not _password(data_dir):
        private_files.write(data_dir / "password", secrets.token_hex(_PASSWORD_BYTES))
    return _password(data_dir)


def all_free(ports: Iterable[tuple[int, int]]) -> bool:
    """Whether all of the nodes' ports are free."""
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
    """The URL, with its password, of the cluster that runs on the directory; None where none does. The lock tells: at
    the ports in a copy of a directory, the original's nodes may be running, with the same password."""
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
    """The ports of the last start; empty where the file is missing or damaged, as new ports will do."""
    try:
        pairs = [(int(port), int(bus_port)) for port, bus_port in json.loads(_read(data_dir / _PORTS))]
    except (ValueError, TypeError, RecursionError):
        return []
    return pairs if all(1 <= port <= 65_535 for pair in pairs for port in pair) else []


def _password(data_dir: Path) -> str:
    """The password in the directory, without a line end that an editor may have added; "" where there is none."""
    return _read(data_dir / "password").strip()


def _read(file: Path) -> str:
    """The content of a file; "" where it does not exist."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
