"""Telling a service manager what state the service is in: a datagram to the socket that it names."""

import socket
from pathlib import Path

import pytest
from instantaudience_server.running.machine.service_manager import READY, ServiceManager


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_state_is_told_to_whoever_is_named(tmp_path: Path, is_abstract: bool) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{address}" if is_abstract else address)
        manager.settimeout(5)
        environment = {"NOTIFY_SOCKET": f"@{address}" if is_abstract else address, "PATH": "/bin"}
        ServiceManager(environment).tell(READY)
        assert manager.recv(100) == b"READY=1"
    assert environment == {"PATH": "/bin"}


def test_nobody_listens(subtests: pytest.Subtests) -> None:
    for environment in [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}]:
        with subtests.test(environment=environment):
            ServiceManager(environment).tell(READY)
