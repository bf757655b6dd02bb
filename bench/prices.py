"""The price of `replica`, `disk` and TLS: each is compared with the same service without it, on a cluster with
replicas.

A ratio is between two successive measurements, whose order alternates; the median of several rounds counts, so that
other work on the machine has little influence. `disk` is measured with `appendfsync always`, as intended. On a slow
disk, no call may finish in time; such a pair is left out and reported.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instantaudience_server.settings import Durability
from rich import box
from rich.table import Table
from support.cluster.replicated import ReplicatedCluster, replicated_cluster
from support.credentials.authorities import Authority

from bench.drives import Result, Run, drive
from bench.load import LoadError
from bench.service import WORKERS, Service, running_service
from bench.workload import Shape

NAME = "prices"
RUNS = (Run("gRPC", "unary", Shape(1, 2), 64, 8), Run("gRPC", "unary", Shape(100, 2), 16, 4))
SLOW_CALLS = ("--call-timeout-seconds", "30")
"""A busy disk takes seconds."""


@dataclass(frozen=True, slots=True)
class Price:
    """A feature that has a price; `appendfsync` is the nodes' setting meanwhile."""

    name: str
    durability: Durability = Durability.PRIMARY
    appendfsync: str = "everysec"
    tls: bool = False


WITHOUT = Price("none")
PRICES = (
    Price("replica", Durability.REPLICA),
    Price("disk", Durability.DISK, appendfsync="always"),
    Price("TLS", tls=True),
)


@dataclass(frozen=True, slots=True)
class Paid:
    """The pairs of results for one price and one load: without it, with it."""

    price: Price
    run: Run
    pairs: Sequence[tuple[Result, Result]]

    def median(self, of: Callable[[Result, Result], float]) -> float:
        """The median of a value over the pairs."""
        return statistics.median(of(*pair) for pair in self.pairs)

    def told(self) -> dict[str, Any]:
        """The result for JSON output."""
        return {
            "what": f"price of {self.price.name}",
            "load": f"{self.run.name} {self.run.shape}",
            "rate_ratio": self.median(lambda without, paid: paid.calls_per_second / without.calls_per_second),
            "service_time_ratio": self.median(lambda without, paid: paid.service_us / without.service_us),
            "nodes_time_ratio": self.median(lambda without, paid: paid.nodes_us / without.nodes_us),
            "calls_per_second": self.median(lambda _, paid: paid.calls_per_second),
            "p50_ms": self.median(lambda _, paid: paid.p50_ms),
            "p50_ms_without": self.median(lambda without, _: without.p50_ms),
        }


async def measure(
    host_mode: str, directory: Path, seconds: float, rounds: int, say: Callable[[str], None]
) -> list[Paid]:
    """Measure all prices on one host; `directory` must be empty."""
    async with AsyncExitStack() as stack:
        say("… starting a cluster with replicas")
        cluster = await stack.enter_async_context(replicated_cluster(directory))
        services = {}
        for price in (WITHOUT, *PRICES):
            say(f"… starting the host {host_mode}, price: {price.name}")
            own = directory / price.name
            own.mkdir()
            authority = Authority(own) if price.tls else None
            arguments = ("--durability", price.durability, *SLOW_CALLS)
            starting = running_service(host_mode, cluster.url, own, arguments=arguments, authority=authority)
            services[price.name] = await stack.enter_async_context(starting)
        paid = []
        for run in RUNS:
            for price in PRICES:
                pairs = []
                for number in range(1, rounds + 1):
                    say(f"… {price.name} {run.name} {run.shape}, round {number} of {rounds}")
                    order = (WITHOUT, price) if number % 2 else (price, WITHOUT)
                    try:
                        found = {each: await _drive(run, services[each.name], cluster, each, seconds) for each in order}
                    except LoadError as problem:
                        say(f"  left out: {problem}")
                    else:
                        pairs.append((found[WITHOUT], found[price]))
                if pairs:
                    paid.append(Paid(price, run, pairs))
        return paid


async def _drive(run: Run, service: Service, cluster: ReplicatedCluster, price: Price, seconds: float) -> Result:
    for node in cluster.nodes:
        await node.ask("CONFIG", "SET", "appendfsync", price.appendfsync)
    return await drive(run, service, WORKERS, {node.child.pid for node in cluster.nodes}, seconds)


def table_of(paid: Sequence[Paid]) -> Table:
    """A table with a row for each price and load."""
    table = Table(title="Prices, on a cluster with replicas", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("what", "load"):
        table.add_column(heading, no_wrap=True)
    for heading in ("calls/s", "of without", "µs of without", "nodes µs of w/o", "p50 ms", "p50 without"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in paid:
        told = each.told()
        table.add_row(
            each.price.name,
            told["load"],
            f"{told['calls_per_second']:,.0f}",
            *(f"{told[name]:.2f}" for name in ("rate_ratio", "service_time_ratio", "nodes_time_ratio")),
            *(f"{told[name]:.1f}" for name in ("p50_ms", "p50_ms_without")),
        )
    table.caption = "medians of pairs, one after the other; disk with appendfsync always"
    return table
