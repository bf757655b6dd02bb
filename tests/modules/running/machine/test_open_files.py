"""As many connections as a process may have files open: the limit is raised where it may be."""

import resource
from collections.abc import Callable, Iterator

import pytest
from instantaudience_server.process.processes import StartError
from instantaudience_server.running.machine.open_files import make_room
from instantaudience_server.settings import Settings
from structlog.testing import capture_logs

Limits = tuple[int, int]


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], list[Limits]]]:
    """Has the kernel say these limits; what they were set to."""

    def limit(soft: int, hard: int) -> list[Limits]:
        came: list[Limits] = []
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, limits: came.append(limits))
        return came

    return limit


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (65_536, 65_536, [], 10_000),
        (1024, 524_288, [(10_512, 524_288)], 10_000),
        (1024, resource.RLIM_INFINITY, [(10_512, resource.RLIM_INFINITY)], 10_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, [], 10_000),
        (1024, 4096, [(4096, 4096)], 3584),
        (64, 64, [(64, 64)], 16),
    ],
)
def test_limits(
    limited: Callable[[int, int], list[Limits]], soft: int, hard: int, raised: list[Limits], connections: int
) -> None:
    came = limited(soft, hard)
    with capture_logs() as logs:
        assert make_room(Settings()).max_connections == connections
    assert came == raised
    assert [each["event"] for each in logs] == ["few_open_files"] * (connections < 10_000)


def test_too_few_to_serve(limited: Callable[[int, int], list[Limits]]) -> None:
    """Each part that ran out of files said so in words of its own, and most of them said another thing."""
    limited(63, 63)
    with pytest.raises(StartError, match=r"^a process may have 63 files open, .* 10512 \(`ulimit -n`, LimitNOFILE\)$"):
        make_room(Settings())
