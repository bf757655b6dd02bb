"""`python -m bench.upgrade --old DIRECTORY`: two versions on one cluster, replaced by each other under traffic.

The directory has the older version, after `make setup`. Two services, both old at first, are upgraded one after the
other, and one goes back; callers reconnect and send again. What they were told is compared with what the cluster holds,
and each version has to know within seconds of a segment that the other one made.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop
from instantaudience_server.running.hosts import available
from rich.console import Console
from support.cluster.replicated import replicated_cluster
from support.service.restarts import Restarted
from support.service.running import COMMAND, Service
from support.service.traffic import Losses, Traffic
from support.waiting import eventually

console = Console(width=110)

OLD, NEW = "old", "new"
STEPS = ((0, NEW), (1, NEW), (0, OLD))
"""Which service is replaced by which version, in order."""
SEEN_SECONDS = 10.0


@dataclass
class Deployment:
    """Both services: how each version is started, and what is running."""

    commands: dict[str, Sequence[str]]
    places: Sequence[Restarted]
    versions: list[str]
    running: list[Service]
    defects: int = 0
    """Calls that met a defect, in services that have been replaced."""

    def count_defects(self, place: int) -> None:
        """Count the defects in the log of a service that is about to end."""
        self.defects += sum(event["event"] == "call_defect" for event in self.running[place].events)

    async def replace(self, place: int, version: str) -> None:
        """Replace a service by another version."""
        self.count_defects(place)
        await self.places[place].stop()
        self.versions[place] = version
        self.running[place] = await self.places[place].start(self.commands[version])

    async def share_segments(self, token: str) -> None:
        """Create a segment through each service, and wait until the other one knows it."""
        for maker, other in (self.running, self.running[::-1]):
            async with maker.http(headers={"authorization": token}) as http:
                made = await http.post("/segment", json={"segment": {"short_name": "upgraded"}})
            segment_id = made.raise_for_status().json()["response"]["id"]

            async def knows(other: Service = other, segment_id: int = segment_id) -> None:
                async with other.http(headers={"authorization": token}) as http:
                    answer: httpx.Response = await http.get("/segment", params={"id": segment_id})
                assert answer.status_code == 200, answer.text

            await eventually(knows, SEEN_SECONDS)


async def bench(old: Path, host_mode: str, seconds: float) -> bool:
    """Run all steps; returns whether nothing was lost."""
    commands = {OLD: [str(old / ".venv/bin/python"), *COMMAND[1:]], NEW: COMMAND}
    with tempfile.TemporaryDirectory(prefix="ia-up-") as name:
        directories = [Path(name) / each for each in ("cluster", "a", "b")]
        for each in directories:
            each.mkdir()
        async with replicated_cluster(directories[0]) as cluster:
            places = [Restarted(each, cluster.url, host_mode) for each in directories[1:]]
            try:
                running = [await each.start(commands[OLD]) for each in places]
                deployment = Deployment(commands, places, [OLD, OLD], running)
                token = await running[0].token()
                traffic = Traffic(running, cluster.url, token, retries=True)
                async with traffic.running():
                    for place, version in (None, None), *STEPS:
                        if place is not None and version is not None:
                            await deployment.replace(place, version)
                        console.print(f"… {' and '.join(deployment.versions)}, failed so far: {len(traffic.failed)}")
                        await deployment.share_segments(token)
                        await asyncio.sleep(seconds)
                losses = await traffic.losses()
                for place in range(len(places)):
                    deployment.count_defects(place)
            finally:
                for each in places:
                    await each.stop()
    console.print(
        f"{traffic.ledger.acknowledged:,} changes acknowledged, {traffic.reads:,} reads, {len(traffic.failed)} failed, "
        f"longest {traffic.longest_seconds:.1f} s; {losses}; {deployment.defects} calls met defects"
    )
    return losses == Losses(0, 0, 0) and not traffic.failed and not deployment.defects


def main() -> None:
    """Parse the arguments and run; exit status 1 if anything was lost or failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.upgrade", description=__doc__)
    parser.add_argument("--old", type=Path, required=True, help="a clone at the older version, after make setup")
    parser.add_argument("--host", choices=available(), default=available()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each pair of versions runs")
    arguments = parser.parse_args()
    sys.exit(not uvloop.run(bench(arguments.old.absolute(), arguments.host, arguments.seconds)))


if __name__ == "__main__":
    main()
