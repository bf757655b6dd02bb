"""Which host `serve` chooses, and what it says of it; hosts that could run may be hidden from it."""

import sys

import pytest
from support.service import running as support_service
from support.service.running import HOST_MODES, Service, new_directory, running_service, starting_service

HIDDEN = "from instantaudience_server.transport.hosts import native; native.EXTENSION = 'none'"
"""Has a Python take the native host for one that is not built."""
SERVE = "from instantaudience_server.commands.root import main; main()"
NOT_BUILT = "its extension is not built (`make setup` builds it where cargo is installed)"
FASTEST = "the fastest that can run here"


def hide_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `serve` run by a Python that cannot run the native host."""
    monkeypatch.setattr(support_service, "COMMAND", [sys.executable, "-c", f"{HIDDEN}\n{SERVE}"])


def assert_chosen(service: Service, host: str, reason: str) -> None:
    (event,) = (event for event in service.events if event["event"] == "host_chosen")
    assert (event["host"], event["reason"]) == (host, reason)
    assert f"host mode {host}: {reason}" in [each["step"] for each in service.events if each["event"] == "service_step"]


async def test_the_one_that_is_asked_for(service: Service, host_mode: str) -> None:
    assert_chosen(service, host_mode, "asked for")


@pytest.mark.parametrize(("host", "reason"), [("native", FASTEST), ("grpcio", f"{FASTEST}; native: {NOT_BUILT}")])
async def test_auto_takes_the_fastest_that_can_run(monkeypatch: pytest.MonkeyPatch, host: str, reason: str) -> None:
    if host not in HOST_MODES:
        pytest.skip(f"the host {host} cannot run here")
    if host == "grpcio":
        hide_native(monkeypatch)
    async with running_service("--workers", "1", host_mode="auto") as service:
        assert_chosen(service, host, reason)
        async with service.http() as http:
            assert (await http.get("/healthz")).status_code == 200


async def test_one_that_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line, and nothing was started."""
    hide_native(monkeypatch)
    async with new_directory() as directory, starting_service(directory, host_mode="native") as service:
        assert await service.process.wait() == 1
        assert service.output == ""
        assert service.log == f"Error: --host-mode native cannot run here: {NOT_BUILT}; use --host-mode auto\n"
        assert service.temporary_files == []
        assert not (directory / "data").exists()
