"""`python -m bench.kills --kills N`: primaries killed one after the other under mixed traffic, and what callers lost.

A cluster of three primaries and replicas, and a service on it. Each row of kills is one traffic, whose callers go on
from kill to kill; the next kill comes when the killed node has caught up as a replica. After each row, what callers
were told is compared with what the cluster holds.
"""

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop
from instantaudience_server.settings import Durability
from rich.console import Console
from support.cluster.replicated import ReplicatedCluster, replicated_cluster
from support.service.running import HOST_MODES, running_service
from support.service.traffic import APPLYING, ARGUMENTS, DEADLINE_SECONDS, Traffic

console = Console(width=110)

KILLS_IN_A_ROW = 5
NOTES = 5
"""Maximum number of a row's failures that are printed in full."""
CALLERS = tuple(APPLYING) * 6
"""Many, because a caller whose call waits for a failover makes no others."""


@dataclass
class Sum:
    """Totals of all rows so far."""

    kills: int = 0
    acknowledged: int = 0
    failed: int = 0
    missing: int = 0
    extra: int = 0
    miscounted: int = 0
    longest_seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether callers noticed at most a pause."""
        return not (self.failed or self.missing or self.extra or self.miscounted)

    def __str__(self) -> str:
        return (
            f"{self.kills:,} kills: {self.acknowledged:,} calls acknowledged, {self.failed} calls failed, "
            f"{self.missing} memberships missing, {self.extra} extra, {self.miscounted} calls miscounted, "
            f"longest call {self.longest_seconds:.1f} s"
        )


async def row(traffic: Traffic, cluster: ReplicatedCluster, kills: int, chance: random.Random, total: Sum) -> None:
    """Some kills under one kind of traffic."""
    async with traffic.running():
        for _ in range(kills):
            primaries = [node for node in cluster.nodes if await node.role() == "master"]
            await cluster.lose_primary(chance.choice(primaries))
            await cluster.whole()
            total.kills += 1
    losses = await traffic.losses()
    total.acknowledged += traffic.ledger.acknowledged
    total.failed += len(traffic.failed)
    total.missing += losses.missing
    total.extra += losses.extra
    total.miscounted += losses.miscounted
    total.longest_seconds = max(total.longest_seconds, traffic.longest_seconds)
    for failure in sorted(set(traffic.failed)):
        console.print(f"  {traffic.failed.count(failure)} × {failure}")
    for note in traffic.notes[:NOTES]:
        console.print(f"  {note}")


async def bench(kills: int, durability: Durability, deadline_seconds: float, seed: int) -> Sum:
    """Run all rows; prints the totals after each."""
    chance, total, began = random.Random(seed), Sum(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ia-kills-") as name:
        directory = Path(name)
        async with (
            replicated_cluster(directory) as cluster,
            running_service(
                "--redis", cluster.url, "--durability", durability, *ARGUMENTS, host_mode=HOST_MODES[0]
            ) as service,
        ):
            token = await service.token()
            while total.kills < kills:
                traffic = Traffic([service], cluster.url, token, deadline_seconds=deadline_seconds, applying=CALLERS)
                await row(traffic, cluster, min(KILLS_IN_A_ROW, kills - total.kills), chance, total)
                console.print(f"… {time.monotonic() - began:,.0f} s, {total}")
    return total


def main() -> None:
    """Parse the arguments and run; exit status 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS_IN_A_ROW, help="how many; each takes some ten seconds")
    parser.add_argument("--durability", type=Durability, choices=list(Durability), default=Durability.REPLICA)
    parser.add_argument("--deadline", type=float, default=DEADLINE_SECONDS, help="of each call, in seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the choice whom to kill")
    arguments = parser.parse_args()
    total = uvloop.run(bench(arguments.kills, arguments.durability, arguments.deadline, arguments.seed))
    sys.exit(not total.is_clean)


if __name__ == "__main__":
    main()
