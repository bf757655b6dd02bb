"""`python -m bench.sending`: a CSV of many memberships through `instant-audience send`.

Beside it, in the same run: what StreamSegments does, over few users before and over those of the file after, and the
memory of the command. At the end, sampled users are compared with what the file says of them.
"""

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from instantaudience_server.running.hosts import available
from instantaudience_server.telemetry import configure_logging
from redis.asyncio import RedisCluster
from rich.console import Console
from rich.table import Table

from bench import load, processes
from bench.batch import ENDS, SAMPLED, SETTLED_PERCENT, Content, pool_of, streamed, wrong_users
from bench.cluster import STEADY, running_cluster
from bench.service import Service, running_service
from bench.workload import POOL

console = Console(width=110)

LOOK_SECONDS = 0.1
KILL_PERCENT = 50


@dataclass(slots=True)
class Sent:
    """The result of running the command."""

    seconds: float = 0.0
    resident: list[int] = field(default_factory=list)
    """Resident bytes, from `SETTLED_PERCENT` on."""

    def __str__(self) -> str:
        return f"{min(self.resident) / 1e6:,.0f} to {max(self.resident) / 1e6:,.0f} MB" if self.resident else "not seen"


def write_csv(content: Content, path: Path) -> None:
    """Write a line for each membership."""
    with path.open("w") as file:
        file.write("user_id,seg_id,value,expiration\n")
        for number in range(content.lines):
            user, segments = content.line(number)
            for segment, minutes in segments.items():
                file.write(f"{user},{segment},0,{minutes}\n")


async def send(service: Service, file: Path, sent: Sent, kill_percent: float) -> bool:
    """Run the command; returns whether it completed. It is killed when `kill_percent` of the file is sent."""
    environment = os.environ | {
        "INSTANT_AUDIENCE_URL": f"http://{service.http[0]}:{service.http[1]}",
        "INSTANT_AUDIENCE_TOKEN": service.token,
    }
    argv = [sys.executable, "-m", "instantaudience_server", "send", str(file)]
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ending = asyncio.create_task(process.wait())
    while not (await asyncio.wait((ending,), timeout=LOOK_SECONDS))[0]:
        percent = _percent(file)
        if percent >= SETTLED_PERCENT:
            sent.resident.append(processes.resident_bytes([process.pid]))
        if percent >= kill_percent:
            console.print(f"… killing it at {percent:.0f} %")
            process.kill()
            break
    status = await ending
    sent.seconds += time.monotonic() - began
    if status > 0:
        sys.exit(f"send ended with status {status}")
    return status == 0


def _percent(file: Path) -> float:
    """The command's progress, from its position file; 0 without one."""
    try:
        offset: int = json.loads(file.with_name(f"{file.name}.position").read_text())["offset"]
    except (OSError, ValueError):
        return 0.0
    return 100 * offset / file.stat().st_size


async def bench(content: Content, seconds: float, *, kill: bool) -> Table:
    """Run the benchmark; returns the table."""
    table = Table(show_header=False)
    memberships = 2 * content.lines
    async with running_cluster(STEADY) as (directory, cluster):
        file = directory / "users.csv"
        console.print(f"… writing {memberships:,} memberships as CSV")
        await asyncio.to_thread(write_csv, content, file)
        async with running_service(available()[0], cluster.url, directory) as service:
            console.print("… StreamSegments")
            stream = await streamed(service, seconds)
            console.print("… send")
            sent = Sent()
            if not await send(service, file, sent, KILL_PERCENT if kill else math.inf):
                console.print("… send again")
                await send(service, file, sent, math.inf)
            async with RedisCluster.from_url(cluster.url, protocol=2) as nodes:
                wrong = await wrong_users(nodes, content)
            console.print("… StreamSegments over the file's users")
            same_users = await streamed(service, seconds, pool_of(content))
        taken = memberships / sent.seconds
        table.add_row("file", f"{memberships:,} memberships, {file.stat().st_size / 1e6:,.0f} MB of CSV")
        table.add_row("StreamSegments", f"{stream:,.0f} memberships/s")
        table.add_row("send", f"{taken:,.0f} memberships/s, {taken / stream:.2f} of StreamSegments")
        share = f"{same_users:,.0f} memberships/s; send {taken / same_users:.2f} of it"
        table.add_row("StreamSegments over the file's users", share)
        table.add_row("memory of the command", f"after a tenth of the file {sent}")
        table.add_row(f"users that are wrong, of {min(SAMPLED, content.users):,}", str(wrong))
    return table


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.sending", description=__doc__)
    parser.add_argument("--memberships", type=int, default=1_000_000, help="lines of the file")
    parser.add_argument("--ends", choices=ENDS, default="one", help="at how many times a user's two memberships end")
    parser.add_argument("--users", type=int, default=POOL, help="different users (default: those of all benchmarks)")
    parser.add_argument(
        "--others",
        action="store_true",
        help="users are scattered, with other segments in each line: every membership is a new one (default: they have "
        "the order and the segments that StreamSegments is measured with)",
    )
    parser.add_argument("--kill", action="store_true", help=f"kill the command at {KILL_PERCENT} %%, and run it again")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long StreamSegments is measured")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    ends = ENDS[arguments.ends]
    content = Content(arguments.memberships // 2, ends, arguments.users, as_called=not arguments.others)
    console.print(uvloop.run(bench(content, arguments.seconds, kill=arguments.kill)))


if __name__ == "__main__":
    main()
