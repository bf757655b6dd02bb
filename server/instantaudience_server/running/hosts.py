"""Chooses the host that serves calls, among those that can run on this machine."""

from instantaudience_server.process.processes import StartError
from instantaudience_server.settings import HostMode
from instantaudience_server.transport.hosts import native

HOSTS: tuple[HostMode, ...] = ("native", "grpcio")
"""All hosts, fastest first."""
FASTEST = "the fastest that can run here"


def missing(host: HostMode) -> str | None:
    """Why a host cannot run here; None when it can."""
    return native.missing() if host == "native" else None


def available() -> list[HostMode]:
    """The hosts that can run here, fastest first; there is always at least one."""
    return [host for host in HOSTS if missing(host) is None]


def choose(mode: HostMode) -> tuple[HostMode, str]:
    """The host for a mode, and the reason for people.

    Raises:
        StartError: the host that is asked for cannot run here.
    """
    if mode == "auto":
        host = available()[0]
        faster = HOSTS[: HOSTS.index(host)]
        return host, "; ".join([FASTEST, *(f"{each}: {missing(each)}" for each in faster)])
    if why := missing(mode):
        raise StartError(f"--host-mode {mode} cannot run here: {why}; use --host-mode auto")
    return mode, "asked for"
