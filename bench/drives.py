"""One kind of load on one service, and the cost of it for both sides."""

from dataclasses import dataclass

from bench import load, processes
from bench.load import Lane
from bench.service import Service
from bench.workload import Shape


@dataclass(frozen=True, slots=True)
class Run:
    """A kind of load, and its concurrency."""

    name: str
    call: str
    shape: Shape
    connections: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a contender: latencies in ms, CPU time per call in µs."""

    calls_per_second: float
    p50_ms: float
    p99_ms: float
    service_us: float
    nodes_us: float
    generator_us: float


async def drive(run: Run, service: Service, port: str, nodes: set[int], seconds: float) -> Result:
    """Apply one kind of load to one port of a service."""
    calling = (service.address(port), run.call, [service.token])
    lane = Lane(run.name, *calling, run.shape, run.connections, run.in_flight, ca=service.ca)
    own = processes.tree(service.pid)
    before = processes.processor_seconds(own), processes.processor_seconds(nodes)
    report = await load.drive(lane, seconds=seconds)
    outcome = report.lanes[run.name].checked()
    # The warm-up's calls cost CPU time, too.
    calls = outcome.ok_per_second * (seconds + load.WARMUP_SECONDS)
    return Result(
        outcome.ok_per_second,
        outcome.answered_ms.p50,
        outcome.answered_ms.p99,
        (processes.processor_seconds(own) - before[0]) / calls * 1e6,
        (processes.processor_seconds(nodes) - before[1]) / calls * 1e6,
        report.processor_us_per_call,
    )
