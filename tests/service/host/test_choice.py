"""Which host `serve` chooses, and what it says of it; hosts that could run may be hidden from it."""

import sys
from pathlib import Path

import pytest
from instantaudience_gateway.envoy import in_process
from support.service import running as support_service
from support.service.running import HOST_MODES, Service, new_directory, running_service, starting_service

HIDDEN = {
    "native": "from instantaudience_server.transport.hosts import native; native.EXTENSION = 'none'",
    "envoy": "from instantaudience_gateway.envoy import in_process; in_process.libpython = lambda: None",
}
"""Has a Python take this host for one that cannot run."""
SERVE = "from instantaudience_server.commands.root import main; main()"
NOT_BUILT = "its extension is not built (`make setup` builds it where cargo is installed)"
NO_LIBRARY = "this Python has no shared libpython"
FASTEST = "the fastest that can run here"
NO_NATIVE = f"{FASTEST}; native: {NOT_BUILT}"


def hide(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Have `serve` run by a Python that cannot run these hosts."""
    program = "\n".join([*(HIDDEN[host] for host in hosts), SERVE])
    monkeypatch.setattr(support_service, "COMMAND", [sys.executable, "-c", program])


def assert_chosen(service: Service, host: str, reason: str) -> None:
    (event,) = (event for event in service.events if event["event"] == "host_chosen")
    assert (event["host"], event["reason"]) == (host, reason)
    assert f"host mode {host}: {reason}" in [each["step"] for each in service.events if each["event"] == "service_step"]


async def test_the_one_that_is_asked_for(service: Service, host_mode: str) -> None:
    assert_chosen(service, host_mode, "asked for")


@pytest.mark.parametrize(
    ("hidden", "host", "reason"),
    [
        ([], "native", FASTEST),
        (["native"], "envoy", NO_NATIVE),
        (["native", "envoy"], "grpcio", f"{NO_NATIVE}; envoy: {NO_LIBRARY}"),
    ],
)
async def test_auto_takes_the_fastest_that_can_run(
    monkeypatch: pytest.MonkeyPatch, hidden: list[str], host: str, reason: str
) -> None:
    if host not in HOST_MODES:
        pytest.skip(f"the host {host} cannot run here")
    hide(monkeypatch, *hidden)
    async with running_service("--workers", "1", host_mode="auto") as service:
        assert_chosen(service, host, reason)
        async with service.http() as http:
            assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("host", "why"), [("native", NOT_BUILT), ("envoy", NO_LIBRARY)])
async def test_one_that_cannot_run(monkeypatch: pytest.MonkeyPatch, host: str, why: str) -> None:
    """One clear line, and nothing was started."""
    hide(monkeypatch, host)
    async with new_directory() as directory, starting_service(directory, host_mode=host) as service:
        assert await service.process.wait() == 1
        assert service.output == ""
        assert service.log == f"Error: --host-mode {host} cannot run here: {why}; use --host-mode auto\n"
        assert service.temporary_files == []
        assert not (directory / "data").exists()


def test_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "libpython", lambda: Path("libpython3.so"))
    monkeypatch.setattr(in_process.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(in_process.sys, "platform", "linux")
    assert in_process.missing() == "pyvoy has no native module for this machine"
    monkeypatch.setattr(in_process, "libpython", lambda: None)
    assert in_process.missing() == NO_LIBRARY
    monkeypatch.setattr(in_process.sys, "platform", "darwin")
    assert in_process.missing() == "it is made for Linux"
