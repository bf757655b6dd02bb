"""The load generator of the benchmarks, against the whole service: it must count what is answered, and what is not; and
what becomes of more calls than can be served."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.credentials.authorities import Authority
from support.service.running import HOST_MODES, Service, new_directory, running_service
from support.waiting import eventually

from bench import load, processes
from bench.load import USERNAME, Address, Lane, LoadError, Outcome, Pool, Request, Shape, write_catalog
from bench.service import GATEWAY, WORKERS, ports, signed_in

pytestmark = [pytest.mark.wide, pytest.mark.alone]

PASSWORD = "Load-Passw0rd!"
SECONDS, WARMUP_SECONDS = 0.4, 0.1
MOST_BYTES = 1.5e9
"""Of all of the service's processes, its cluster among them."""
CALLS = ("unary", "stream", "rest", "rest_http1")


@pytest.fixture(scope="module")
async def loaded(host_mode: str) -> AsyncIterator[Service]:
    """A service with the benchmark's segments."""
    if reason := load.missing():
        pytest.skip(f"the load generator cannot be built here: {reason}")
    async with new_directory() as directory:
        write_catalog(directory / "bench.yaml", PASSWORD)
        catalog = f"--catalog={directory / 'bench.yaml'}"
        async with running_service(directory=directory, host_mode=host_mode, catalog=catalog) as running:
            yield running


@pytest.fixture(scope="module")
async def token(loaded: Service) -> str:
    return await signed_in(address(loaded, GATEWAY), USERNAME, PASSWORD)


def address(service: Service, port: str) -> Address:
    host, _, number = (service.http_address if port == GATEWAY else service.grpc_address).rpartition(":")
    return host, int(number)


@pytest.mark.parametrize("shape", [Shape(1, 2), Shape(1000, 3)], ids=str)
@pytest.mark.parametrize("call", CALLS)
async def test_every_answer_fits_its_call(loaded: Service, token: str, call: str, shape: Shape) -> None:
    in_flight = 1 if call == "rest_http1" else 4
    pool = Pool(order="scattered")
    for port in ports(call, loaded.host_mode):
        lane = Lane("all", address(loaded, port), call, [token], shape, 2, in_flight, pool=pool)
        report = await load.drive(lane, seconds=SECONDS, warmup_seconds=WARMUP_SECONDS)
        assert report.lanes["all"].checked().answered_ms.p50 > 0
        assert report.processor_seconds > 0


@pytest.mark.parametrize("host_mode", HOST_MODES[:1])
async def test_over_tls(host_mode: str, tmp_path: Path) -> None:
    """Whoever an authority vouches for is called, nobody else."""
    if reason := load.missing():
        pytest.skip(reason)
    ours = Authority(tmp_path)
    signed = ours.sign("service", address="127.0.0.1")
    write_catalog(tmp_path / "bench.yaml", PASSWORD)
    words = ("--tls-cert", str(signed.cert), "--tls-key", str(signed.key), "--workers", "1")
    async with running_service(*words, host_mode=host_mode, catalog=f"--catalog={tmp_path / 'bench.yaml'}") as service:
        token = await signed_in(address(service, GATEWAY), USERNAME, PASSWORD, ours.file)

        async def drive(call: str, port: str, ca: Path, deadline_seconds: float = 5.0) -> Outcome:
            pace = {"connections": 2, "per_second": 100, "deadline_seconds": deadline_seconds}
            lane = Lane("all", address(service, port), call, [token], **pace, ca=ca)
            return (await load.drive(lane, seconds=SECONDS, warmup_seconds=WARMUP_SECONDS)).lanes["all"]

        for call in ("unary", "rest"):
            for port in ports(call, host_mode):
                assert (await drive(call, port, ours.file)).checked().ok == 40
        stranger = await drive("unary", WORKERS, Authority(tmp_path, "stranger").file, 0.2)
        assert (stranger.ok, stranger.missed) == (0, 40)
        with pytest.raises(LoadError, match="with a ca, calls go over HTTP/2"):
            await drive("rest_http1", GATEWAY, ours.file)


async def test_lanes_are_counted_apart(loaded: Service, token: str) -> None:
    paced = {"connections": 2, "per_second": 100, "deadline_seconds": 2}
    lanes = [
        Lane("good", address(loaded, WORKERS), "unary", [token], **paced),
        Lane("unknown", address(loaded, WORKERS), "unary", ["no token"], **paced),
        Lane("late", address(loaded, WORKERS), "unary", [token], **(paced | {"deadline_seconds": 0.001})),
        Lane("health", address(loaded, GATEWAY), Request("GET", "/healthz"), [token], **paced),
    ]
    report = await load.drive(*lanes, seconds=SECONDS, warmup_seconds=WARMUP_SECONDS)
    assert {name: outcome.calls for name, outcome in report.lanes.items()} == dict.fromkeys(report.lanes, 40)
    assert report.lanes["good"].ok == report.lanes["health"].ok == report.lanes["unknown"].failed == 40
    assert all(reason.startswith("gRPC 16 ") for reason in report.lanes["unknown"].reasons)
    late = report.lanes["late"]
    assert late.ok + late.refused + late.late + late.missed == 40


async def test_a_plan_that_cannot_be_followed_is_told(loaded: Service, token: str) -> None:
    lane = Lane("wrong", address(loaded, WORKERS), "unary", [token], per_second=1)
    with pytest.raises(LoadError, match=r"^load: lane wrong: an open loop needs a deadline$"):
        await load.drive(lane, seconds=1)


async def test_more_calls_than_can_be_served_are_refused_or_late_but_do_not_fail(loaded: Service, token: str) -> None:
    """Several times as many; memory is bounded, and afterwards all calls are served."""
    lane = Lane(
        "flood", address(loaded, WORKERS), "unary", [token], Shape(100, 2), 16, per_second=10_000, deadline_seconds=1.0
    )
    flood = (await load.drive(lane, seconds=SECONDS, warmup_seconds=0)).lanes["flood"]
    over = sum(count for reason, count in flood.reasons.items() if reason.startswith("gRPC 1 "))  # grpcio's, when late
    assert flood.failed == over, flood.reasons
    assert flood.ok > 0
    assert flood.refused + flood.late + flood.missed + over > 0
    assert processes.resident_bytes(processes.tree(loaded.process.pid)) < MOST_BYTES

    async def assert_served() -> None:
        usual = Lane("usual", address(loaded, WORKERS), "unary", [token], Shape(100, 2), 2, 1)
        outcome = (await load.drive(usual, seconds=SECONDS, warmup_seconds=0)).lanes["usual"]
        assert outcome.ok == outcome.calls > 0, outcome.reasons

    await eventually(assert_served)
