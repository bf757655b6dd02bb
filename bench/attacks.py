"""`python -m bench.attacks`: what each attack does to a neighbour, who calls a hundred times a second.

One member attacks the gateway's port or the workers' own, for as long as told; another one, the neighbour, uses that
port, too. Its 99th percentile is told beside the one that it had alone just before, with its failures and what the
service took of memory. Attackers are very nice (`nice 19`), as theirs are other machines.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import uvloop
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from rich import box
from rich.console import Console
from rich.table import Table
from support.wire import floods
from support.wire.floods import Flood

from bench import load, processes
from bench.cluster import running_cluster
from bench.load import Lane, Outcome, Pool
from bench.service import GATEWAY, PORTS, Service, ports, running_service, signed_in
from bench.workload import FIRST_USER, UNLIMITED, write_members

console = Console(width=110)

ATTACKS: dict[Flood, str | None] = {
    floods.lengthen_headers: None,
    floods.bomb_headers: None,
    floods.continue_headers: None,
    floods.keep_streams: None,
    floods.watch_health: None,
    floods.keep_connections: None,
    floods.come_and_go: None,
    floods.send_slowly: None,
    floods.send_head_slowly: "rest_http1",
    floods.read_nothing: None,
    floods.reset_at_once: None,
    floods.ping: None,
    floods.settle: None,
    floods.bomb_messages: None,
    floods.amplify: "rest",
    floods.post_without_token: "rest",
    floods.post_with_made_up_token: "rest",
}
"""The kind of calls whose ports each attack applies to; None: all ports."""
ATTACKER, NEIGHBOUR = "attacker", "neighbour"
NEIGHBOURS_RATE = 100.0
NEIGHBOURS_CONNECTIONS = 4
NEIGHBOURS_USERS = Pool(first_id=FIRST_USER + 10**9)
DEADLINE_SECONDS = 10.0
MOST_ALONE_SECONDS = 20.0
NICE = 19
AGAIN_SECONDS = 0.01
LOOK_SECONDS = 0.25
REST_SECONDS = 3.0
"""Pause between attacks."""


@dataclass(frozen=True, slots=True)
class Result:
    """The neighbour's calls alone and beside the attack, and the service's memory before it and at its peak."""

    attack: str
    port: str
    alone: Outcome
    beside: Outcome
    before_bytes: int
    most_bytes: int

    @property
    def failures(self) -> int:
        """Calls of the neighbour that did not get the expected answer."""
        return failures_of(self.beside)

    def row(self) -> list[str]:
        """A row of the table."""
        alone, beside = self.alone.answered_ms.p99, self.beside.answered_ms.p99
        mega = 2**20
        return [
            self.attack,
            self.port,
            f"{alone:.1f}",
            f"{beside:.1f}",
            f"{beside / alone:.1f}" if alone else "",
            f"{self.beside.answered_ms.max:.0f}",
            f"{failures_of(self.alone)} of {self.alone.calls:,}",
            f"{self.failures} of {self.beside.calls:,}",
            f"{self.before_bytes // mega:,}",
            f"{self.most_bytes // mega:,}",
        ]


def failures_of(outcome: Outcome) -> int:
    """Calls that did not get the expected answer."""
    return outcome.calls - outcome.ok


def attack_for_ever(name: str, address: str, token: str) -> None:
    """Attack repeatedly, in a process of its own that is ended from outside."""
    os.nice(NICE)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

    async def attack() -> None:
        shoot: Flood = getattr(floods, name)
        told = set()
        while True:
            try:
                await shoot(address, token)
            except (AssertionError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                # An attacked service may well leave its attackers waiting, so each kind of error is reported only once.
                if type(error) not in told:
                    told.add(type(error))
                    console.print(f"  {name}: {error!r}")
            await asyncio.sleep(AGAIN_SECONDS)

    uvloop.run(attack())


def resident_bytes(service: Service) -> int:
    """The resident memory of the service."""
    return processes.resident_bytes(processes.tree(service.pid))


async def measure(attack: Flood, port: str, service: Service, attackers_token: str, seconds: float) -> Result:
    """Measure one attack on one port."""
    address = service.address(port)
    lane = Lane(
        NEIGHBOUR,
        address,
        "rest" if port == GATEWAY else "unary",
        [service.token],
        connections=NEIGHBOURS_CONNECTIONS,
        per_second=NEIGHBOURS_RATE,
        deadline_seconds=DEADLINE_SECONDS,
        pool=NEIGHBOURS_USERS,
    )
    alone = (await load.drive(lane, seconds=min(seconds, MOST_ALONE_SECONDS))).lanes[NEIGHBOUR]
    before = most = resident_bytes(service)
    arguments = (attack.__name__, f"{address[0]}:{address[1]}", attackers_token)
    attacker = multiprocessing.get_context("spawn").Process(target=attack_for_ever, args=arguments)
    attacker.start()
    driving = asyncio.create_task(load.drive(lane, seconds=seconds))
    try:
        while not driving.done():
            most = max(most, resident_bytes(service))
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        attacker.kill()
        await asyncio.to_thread(attacker.join)
    return Result(attack.__name__, port, alone, (await driving).lanes[NEIGHBOUR], before, most)


def new_table() -> Table:
    """An empty table."""
    table = Table(title="A neighbour beside attacks", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("attack", "port"):
        table.add_column(heading, no_wrap=True)
    for heading in ("p99 alone", "p99 ms", "ratio", "max ms", "failed alone", "failed", "MB before", "MB most"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


async def bench(host_mode: str, attacks: Sequence[tuple[Flood, str]], seconds: float) -> list[Result]:
    """Run all attacks, one after the other, on one service."""
    async with AsyncExitStack() as stack:
        directory, cluster = await stack.enter_async_context(running_cluster())

        write = partial(write_members, limits={ATTACKER: {}, NEIGHBOUR: dict.fromkeys(UNLIMITED, 2**31 - 1)})
        starting = running_service(host_mode, cluster.url, directory, (NEIGHBOUR, ATTACKER), write=write)
        service = await stack.enter_async_context(starting)
        token = await signed_in(service.http, ATTACKER, service.password)
        results = []
        for attack, port in attacks:
            console.print(f"… {attack.__name__} on the port of the {port}")
            results.append(await measure(attack, port, service, token, seconds))
            console.print("  " + "  ".join(results[-1].row()[2:]))
            if results[-1].failures:
                console.print(f"  {dict(results[-1].beside.reasons)}")
            await asyncio.sleep(REST_SECONDS)
        return results


def main() -> None:
    """Parse the arguments and run; exit status 1 if the neighbour noticed more than a delay."""
    parser = argparse.ArgumentParser(prog="python -m bench.attacks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each attack lasts")
    parser.add_argument("--host", choices=available(), default=available()[0])
    parser.add_argument("--only", default="", help="attacks whose name has this in it")
    parser.add_argument("--port", choices=PORTS, nargs="+", default=PORTS)
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    attacks = [
        (attack, port)
        for attack, call in ATTACKS.items()
        for port in (ports(call, arguments.host) if call else PORTS)
        if arguments.only in attack.__name__ and port in arguments.port
    ]
    configure_logging("warning")
    results = uvloop.run(bench(arguments.host, attacks, arguments.seconds))
    table = new_table()
    for result in results:
        table.add_row(*result.row())
    console.print(table)
    sys.exit(any(result.failures for result in results))


if __name__ == "__main__":
    main()
