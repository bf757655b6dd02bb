"""Which host `serve` chooses, and what it says of it."""

import sys
from pathlib import Path

import pytest
from instantaudience_gateway.envoy import in_process
from support import service as support_service
from support.service import Service, new_directory, running_service, starting_service

WITHOUT_LIBPYTHON = """
from instantaudience_gateway.envoy import in_process
in_process.libpython = lambda: None
from instantaudience_server.commands.root import main
main()
"""
NO_LIBRARY = "this Python has no shared libpython"
CAN_RUN = "the faster one, and it can run here"

needs_envoy_host = pytest.mark.skipif(in_process.missing() is not None, reason="nothing runs inside Envoy here")


@pytest.fixture
def without_libpython(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` by a Python that was built without a shared library."""
    monkeypatch.setattr(support_service, "COMMAND", [sys.executable, "-c", WITHOUT_LIBPYTHON])


def assert_chosen(service: Service, host: str, reason: str) -> None:
    (event,) = (event for event in service.events if event["event"] == "host_chosen")
    assert (event["host"], event["reason"]) == (host, reason)
    assert f"… host mode {host}: {reason}\n" in service.log


async def test_the_one_that_is_asked_for(service: Service, host_mode: str) -> None:
    assert_chosen(service, host_mode, "asked for")


@needs_envoy_host
async def test_auto_takes_envoy_where_it_can_run() -> None:
    async with running_service("--workers", "1", host_mode="auto") as service:
        assert_chosen(service, "envoy", CAN_RUN)


@pytest.mark.usefixtures("without_libpython")
async def test_auto_takes_grpcio_where_envoy_cannot_run() -> None:
    async with running_service("--workers", "1", host_mode="auto") as service:
        assert_chosen(service, "grpcio", NO_LIBRARY)
        async with service.http() as http:
            assert (await http.get("/healthz")).status_code == 200


@pytest.mark.usefixtures("without_libpython")
async def test_envoy_where_it_cannot_run() -> None:
    """One clear line, and nothing was started."""
    async with new_directory() as directory, starting_service(directory, host_mode="envoy") as service:
        assert await service.process.wait() == 1
        assert service.output == ""
        assert service.log == f"Error: --host-mode envoy cannot run here: {NO_LIBRARY}; use --host-mode grpcio\n"
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
