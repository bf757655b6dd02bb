"""`python -m bench.overload`: more calls than the service can serve, from callers who do not slow down.

For each host and kind of load it first measures the peak, in a closed loop. Then members offer a multiple of it, while
a neighbour of another member calls 50 times a second and `/healthz` is asked 10 times a second. One process drives all
three; the table says how much of a core that took, of those that callers, service and cluster share here.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import uvloop
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from rich import box
from rich.console import Console
from rich.table import Table

from bench import load, processes
from bench.load import Lane, Outcome, Pool, Request
from bench.service import Service, running_service, signed_in
from bench.workload import FIRST_USER, UNLIMITED, Shape, write_members

console = Console(width=120)

CALLS = ("unary", "stream", "rest")
SHAPES = {"1x2": Shape(1, 2), "100x2": Shape(100, 2)}
MULTIPLES = (1.3, 2.0, 5.0, 10.0)
MOST_MEMBERS = 50
CONNECTIONS, IN_FLIGHT = 64, 4
PEAK, NEIGHBOUR = "peak", "neighbour"
NEIGHBOURS_RATE, HEALTHS_RATE = 50.0, 10.0
QUIET_CONNECTIONS = 4
"""Of the neighbour, and of those who ask for `/healthz`."""
NEIGHBOURS_USERS = Pool(first_id=FIRST_USER + 10**9)
PEAK_SECONDS, AGAIN_SECONDS = 3.0, 2.0
REST_SECONDS = 2.0
"""After a flood has ended, before the goodput is measured again."""
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Case:
    """A flood: how members call, how many of them, and how often, as a multiple of the peak."""

    call: str
    shape: Shape
    members: int
    multiple: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case on a host. Rates are of calls a second; `again` is the goodput after it."""

    host: str
    case: Case
    peak: float
    flood: Outcome
    neighbour: Outcome
    health: Outcome
    again: float
    most_bytes: int
    generator_cores: float


class Overload:
    """Floods one host of the service."""

    def __init__(self, host: str, service: Service, tokens: Mapping[str, str], seconds: float, deadline: float) -> None:
        self._host = host
        self._service = service
        self._tokens = tokens
        self._seconds = seconds
        self._deadline = deadline

    def memory_bytes(self) -> int:
        """Of all the service's processes."""
        return processes.resident_bytes(processes.tree(self._service.pid))

    async def peak(self, call: str, shape: Shape, seconds: float) -> float:
        """Calls a second in a closed loop, of a member without limits."""
        lane = Lane(PEAK, self._address(call), call, [self._tokens[PEAK]], shape, CONNECTIONS, IN_FLIGHT)
        return (await load.drive(lane, seconds=seconds)).lanes[PEAK].ok_per_second

    async def flood(self, case: Case, peak: float) -> Result:
        """Offer a multiple of the peak, and look around."""
        memory = [self.memory_bytes()]
        watching = asyncio.create_task(self._watch(memory))
        report = await load.drive(*self._lanes(case, peak), seconds=self._seconds)
        watching.cancel()
        await asyncio.sleep(REST_SECONDS)
        again = await self.peak(case.call, case.shape, AGAIN_SECONDS)
        lanes = report.lanes
        cores = report.processor_seconds / self._seconds
        return Result(
            self._host, case, peak, lanes["flood"], lanes[NEIGHBOUR], lanes["health"], again, max(memory), cores
        )

    def _lanes(self, case: Case, peak: float) -> Iterable[Lane]:
        flooding = [self._tokens[name] for name in flood_names()[: case.members]]
        address, paced = self._address(case.call), {"deadline_seconds": self._deadline}
        quiet = {"connections": QUIET_CONNECTIONS} | paced
        yield Lane(
            "flood", address, case.call, flooding, case.shape, CONNECTIONS, per_second=case.multiple * peak, **paced
        )
        yield Lane(
            NEIGHBOUR,
            address,
            "rest" if case.call == "rest" else "unary",
            [self._tokens[NEIGHBOUR]],
            Shape(1, 1),
            per_second=NEIGHBOURS_RATE,
            pool=NEIGHBOURS_USERS,
            **quiet,
        )
        health = Request("GET", "/healthz")
        yield Lane("health", self._service.http, health, ["none"], per_second=HEALTHS_RATE, **quiet)

    def _address(self, call: str) -> load.Address:
        return self._service.http if call == "rest" else self._service.grpc

    async def _watch(self, memory: list[int]) -> None:
        while True:
            memory.append(self.memory_bytes())
            await asyncio.sleep(LOOK_SECONDS)


def flood_names() -> list[str]:
    """The members that flood."""
    return [f"flood-{number}" for number in range(MOST_MEMBERS)]


def new_table(deadline: float) -> Table:
    """The table without rows."""
    title = f"Offered more than the peak; in time is within {deadline:g} s"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for heading in ("host", "load"):
        table.add_column(heading, no_wrap=True)
    headings = ("by", "peak/s", "offered", "in time", "refused", "p99 ms", "other", "soon", "neighbour", "fails")
    for heading in (*headings, "/healthz", "again", "MB", "cores"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.caption = (
        "by: members; offered, in time, refused, other (late, failed, not sent), again (goodput 2 s after): a second, "
        "against the peak; p99: of refusals; soon: answered or refused in 0.5 s; neighbour, /healthz: p99 in ms; "
        "fails: the neighbour's calls without an answer; MB: of the service, at most; cores: of the generator"
    )
    return table


def add_row(table: Table, result: Result) -> None:
    """A case."""
    case, flood, quiet = result.case, result.flood, result.neighbour
    offered = result.peak * flood.seconds
    table.add_row(
        result.host,
        f"{case.call} {case.shape}",
        str(case.members),
        f"{result.peak:,.0f}",
        f"{case.multiple:g}",
        f"{flood.ok / offered:.2f}",
        f"{flood.refused / offered:.2f}",
        f"{flood.refused_ms.p99:,.0f}",
        f"{(flood.late + flood.failed + flood.missed) / offered:.2f}",
        f"{flood.soon / flood.calls:.0%}",
        f"{quiet.answered_ms.p99:,.0f}",
        f"{quiet.calls - quiet.ok}",
        f"{result.health.answered_ms.p99:,.0f}",
        f"{result.again / result.peak:.2f}",
        f"{result.most_bytes / 1e6:,.0f}",
        f"{result.generator_cores:.2f}",
    )


async def flood_host(
    host: str, cluster: EmbeddedCluster, directory: Path, cases: Sequence[Case], arguments: argparse.Namespace
) -> tuple[list[Result], list[int]]:
    """All cases on one host; and its memory in bytes: at the start, and a while after the last."""
    users = (PEAK, NEIGHBOUR, *flood_names()[: max(case.members for case in cases)])
    unlimited = dict.fromkeys(UNLIMITED, 2**31 - 1)
    limits = {name: {} if arguments.limited and name not in (PEAK, NEIGHBOUR) else unlimited for name in users}
    write = partial(write_members, limits=limits)
    results = []
    async with running_service(host, cluster.url, directory, users, write=write) as service:
        tokens = {name: await signed_in(service.http, name, service.password) for name in users}
        overload = Overload(host, service, tokens, arguments.seconds, arguments.deadline)
        memory = [overload.memory_bytes()]
        for (call, shape), group in itertools.groupby(cases, lambda case: (case.call, case.shape)):
            peak = await overload.peak(call, shape, PEAK_SECONDS)
            for case in group:
                console.print(f"… {host}, {call} {shape}, {case.members} members, {case.multiple:g} × {peak:,.0f}/s")
                results.append(await overload.flood(case, peak))
        await asyncio.sleep(arguments.after)
        memory.append(overload.memory_bytes())
    return results, memory


async def bench(host_modes: Sequence[str], cases: Sequence[Case], arguments: argparse.Namespace) -> None:
    """Flood all hosts, one after the other, and print the table."""
    table, told, said = new_table(arguments.deadline), [], []
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instant-audience-bench-")))
        cluster = EmbeddedCluster(directory / "data")
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        for host in host_modes:
            results, memory = await flood_host(host, cluster, directory, cases, arguments)
            for result in results:
                add_row(table, result)
                told.append(asdict(result))
            table.add_section()
            after = f"{memory[-1] / 1e6:,.0f} MB {arguments.after:g} s after the last flood"
            said.append(f"{host}: {memory[0] / 1e6:,.0f} MB at the start, {after}")
    console.print(table)
    for line in said:
        console.print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1))


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each rate is offered")
    parser.add_argument("--host", nargs="*", choices=available(), help="instead of all that can run here")
    parser.add_argument("--call", nargs="*", choices=CALLS, default=["unary"])
    parser.add_argument("--shape", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--members", type=int, nargs="*", choices=range(1, MOST_MEMBERS + 1), default=[1], metavar="N")
    parser.add_argument("--times", type=float, nargs="*", default=MULTIPLES, help="multiples of the peak")
    parser.add_argument("--deadline", type=float, default=2.0, help="of each call, in seconds")
    parser.add_argument("--limited", action="store_true", help="let those who flood have the default limits")
    parser.add_argument("--after", type=float, default=10.0, help="seconds until memory is looked at again")
    parser.add_argument("--json", type=Path, help="write the results into this file, too")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    shapes = [SHAPES[name] for name in arguments.shape]
    every = itertools.product(arguments.call, shapes, arguments.members, arguments.times)
    configure_logging("warning")
    uvloop.run(bench(arguments.host or available()[::-1], [Case(*each) for each in every], arguments))


if __name__ == "__main__":
    main()
