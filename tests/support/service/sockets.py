"""Which processes own listening sockets and connections, as the kernel reports them (proc(5))."""

import contextlib
from pathlib import Path

ESTABLISHED, LISTEN = "01", "0A"


def owner(server_port: int, client_port: int, pids: list[int]) -> int | None:
    """The process, among these, that accepted the connection from `client_port`; None if none of them did."""
    inode = _inode(server_port, client_port)
    if inode is None:
        return None
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(entry.readlink()) == f"socket:[{inode}]":
                        return pid
    return None


def listeners(port: int) -> int:
    """Number of sockets that listen on the port; with SO_REUSEPORT each accepts its own connections."""
    return sum(_port(fields[1]) == port and fields[3] == LISTEN for fields in _sockets())


def _inode(server_port: int, client_port: int) -> str | None:
    for fields in _sockets():
        if (_port(fields[1]), _port(fields[2]), fields[3]) == (server_port, client_port, ESTABLISHED):
            return fields[9]
    return None


def _sockets() -> list[list[str]]:
    """The TCP sockets of IPv4 and IPv6; an IPv6 socket accepts IPv4 connections, too."""
    tables = [Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6")]
    return [line.split() for table in tables for line in table.splitlines()[1:]]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
