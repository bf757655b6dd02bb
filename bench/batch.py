"""`python -m bench.batch`: a file of many lines, from its upload until all of it stands in the cluster.

Beside it, in the same run: what StreamSegments does, over few users before and over those of the file after, what live
calls do alone and while the file is applied, by turns, and the memory of each process of the service. Then
sampled users are compared with what the file says of them.
"""

import argparse
import asyncio
import gzip
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import httpx
import uvloop
from instantaudience_server.observation.telemetry import configure_logging
from instantaudience_server.running.hosts import available
from redis.asyncio import RedisCluster
from rich.console import Console
from rich.table import Table

from bench import load, processes
from bench.load import EVERYONE, SEGMENTS, Lane, Pool, Shape
from bench.service import Service, running_cluster, running_service

console = Console(width=110)

FIRST_USER = 20_000_000_000_000
"""No user IDs of other calls are in this range."""
LINES_OF_A_USER = 5
STEP = 7919
"""The step in which lines go through the users, a prime: they come scattered."""
SAMPLED = 100_000
SAMPLED_AT_ONCE = 1000
END_TOLERANCE_MINUTES = 30
"""How much time may have passed between the upload and the comparison."""
APPLYING = b"batch_worker"
"""Part of the command lines of the processes that receive and apply files."""
SETTLED_PERCENT = 10
"""From this progress on, a process has reached its steady state: code, connections, and cached segment texts are
loaded."""
ENDS = {"one": 1, "two": 2}
"""The number of different ends of a line's two segments; each end takes a separate command."""
SHAPE = Shape(100, 2)
LIVE_CONNECTIONS, LIVE_IN_FLIGHT = 16, 4
LIVE_TURNS = 8
"""How often live calls are measured alone, and then beside a job: the machine's speed varies from minute to minute."""
AVRO_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "user",
    "fields": [
        {"name": "uid", "type": ["long"]},
        {
            "name": "segments",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "segment",
                    "fields": [{"name": name, "type": "int", "default": 0} for name in ("id", "expiration")],
                },
            },
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file, line by line, and the final memberships of each user."""

    lines: int
    ends: int
    users: int

    def line(self, number: int) -> tuple[int, dict[int, int]]:
        """The user of a line, and the minutes of each of its segments."""
        place = number * STEP % self.users
        return FIRST_USER + place, self._segments(place, number // self.users)

    def memberships(self, place: int) -> dict[int, int]:
        """A user's memberships at the end, with their minutes from the upload on."""
        found: dict[int, int] = {}
        for turn in range(-(-self.lines // self.users)):
            # The last round through all users may be incomplete.
            if turn * self.users + place * pow(STEP, -1, self.users) % self.users < self.lines:
                found |= self._segments(place, turn)
        return found

    def _segments(self, place: int, turn: int) -> dict[int, int]:
        first = (place + 17 * turn) % len(SEGMENTS)
        segments = [SEGMENTS[first], SEGMENTS[(first + 1) % len(SEGMENTS)]]
        return dict(zip(segments, (1440 * (turn + 1), 1440 * (turn + self.ends)), strict=True))

    def write(self, path: Path, form: str) -> None:
        """Write the file as `text`, `gzip` or `avro`."""
        if form == "avro":
            with path.open("wb") as file:
                fastavro.writer(file, AVRO_SCHEMA, self._records(), "null")
            return
        with gzip.open(path, "wt", compresslevel=1) if form == "gzip" else path.open("w") as text:
            for number in range(self.lines):
                user, segments = self.line(number)
                fields = ",".join(f"{segment}:{minutes}" for segment, minutes in segments.items())
                text.write(f"{user};{fields}\n")

    def _records(self) -> Iterator[dict[str, Any]]:
        for number in range(self.lines):
            user, segments = self.line(number)
            rows = [{"id": segment, "expiration": minutes} for segment, minutes in segments.items()]
            yield {"uid": user, "segments": rows}


@dataclass(slots=True)
class Watched:
    """The memory of the service's processes while a file is processed, in bytes."""

    names: dict[int, str] = field(default_factory=dict)
    """What each process runs."""
    begun: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Progress of the file in percent, and memory, when each process was first seen."""
    settled: dict[int, list[int]] = field(default_factory=dict)
    """Memory of each process, once progress has increased by `SETTLED_PERCENT`."""

    def look(self, service: Service, percent: int) -> None:
        """Record the memory at this progress."""
        for pid, size in processes.sizes(processes.tree(service.pid)).items():
            now = size.resident_bytes
            if pid not in self.names:
                self.names[pid] = processes.name(pid)
            since, _ = self.begun.setdefault(pid, (percent, now))
            if percent >= since + SETTLED_PERCENT:
                self.settled.setdefault(pid, []).append(now)

    def rows(self) -> list[tuple[str, str]]:
        """Rows of the table, one for each process."""
        return [(f"memory of {self.names[pid]}", self._told(pid)) for pid in self.begun]

    def _told(self, pid: int) -> str:
        told = f"{self.begun[pid][1] / 1e6:,.0f} MB"
        if pid in self.settled:
            least, most = min(self.settled[pid]), max(self.settled[pid])
            told += f", after a tenth of the file {least / 1e6:,.0f} to {most / 1e6:,.0f} MB"
        return told


def applying(service: Service) -> list[int]:
    """The processes that receive and apply files."""
    return [pid for pid in processes.tree(service.pid) if APPLYING in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def upload(http: httpx.AsyncClient, file: Path) -> str:
    """Upload the file; returns the job's ID."""
    created = (await http.post("/batch-segment")).raise_for_status().json()["response"]["batch_segment_upload_job"]

    async def pieces() -> AsyncIterator[bytes]:
        with file.open("rb") as opened:
            while piece := await asyncio.to_thread(opened.read, 2**20):
                yield piece

    (await http.post(created["upload_url"], content=pieces())).raise_for_status()
    return str(created["job_id"])


async def job(http: httpx.AsyncClient, job_id: str) -> dict[str, Any] | None:
    """The job's state; None if live calls leave no capacity for the request."""
    answer = await http.get("/batch-segment", params={"job_id": job_id})
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return None
    found: dict[str, Any] = answer.raise_for_status().json()["response"]["batch_segment_upload_job"]
    return found


async def applied(
    http: httpx.AsyncClient, service: Service, job_id: str, kills: list[int], watched: Watched
) -> dict[str, Any]:
    """Wait for the end of a job; returns its state. At each of these percentages, all processes that apply files are
    killed."""
    percent = 0
    while True:
        state = await job(http, job_id)
        percent = percent if state is None else state["percent_complete"]
        watched.look(service, percent)
        if state is not None and state["phase"] in ("completed", "error"):
            return state
        if kills and state is not None and state["percent_complete"] >= kills[0]:
            console.print(f"… killing what applies files at {state['percent_complete']} %")
            kills.pop(0)
            for pid in applying(service):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.5)


async def live(service: Service, call: str, seconds: float, pool: Pool = EVERYONE) -> load.Outcome:
    """Measure live calls for these users."""
    lane = Lane(call, service.grpc, call, [service.token], SHAPE, LIVE_CONNECTIONS, LIVE_IN_FLIGHT, pool=pool)
    return (await load.drive(lane, seconds=seconds)).lanes[call].checked()


async def streamed(service: Service, seconds: float, pool: Pool = EVERYONE) -> float:
    """Memberships per second of StreamSegments, for these users."""
    return (await live(service, "stream", seconds, pool)).ok_per_second * SHAPE.memberships


def pool_of(content: Content) -> Pool:
    """The users of a file, as a pool for calls."""
    return Pool(content.users // 4 * 4, FIRST_USER, "scattered")


async def wrong_users(cluster: RedisCluster, content: Content) -> int:
    """Number of sampled users whose memberships differ from the file's."""
    wrong, step = 0, max(1, content.users // SAMPLED)
    places = range(0, content.users, step)
    for start in range(0, len(places), SAMPLED_AT_ONCE):
        some = places[start : start + SAMPLED_AT_ONCE]
        now_minutes = time.time() / 60
        pipeline = cluster.pipeline()
        for place in some:
            fields = sorted(content.memberships(place))
            pipeline.hlen(f"m:p:{FIRST_USER + place}")
            pipeline.execute_command("HPEXPIRETIME", f"m:p:{FIRST_USER + place}", "FIELDS", len(fields), *fields)
        answers = await pipeline.execute()
        for place, length, ends in zip(some, answers[::2], answers[1::2], strict=True):
            expected = content.memberships(place)
            early = [
                minutes - (end / 60_000 - now_minutes)
                for minutes, end in zip((expected[each] for each in sorted(expected)), ends, strict=True)
            ]
            wrong += length != len(expected) or not all(-1 < each < END_TOLERANCE_MINUTES for each in early)
    return wrong


async def bench(content: Content, form: str, kills: list[int], seconds: float, *, beside: bool) -> Table:
    """Run the benchmark; returns the table."""
    table = Table(show_header=False)
    async with running_cluster() as (directory, cluster):
        file = directory / "file"
        console.print(f"… writing {content.lines:,} lines as {form}")
        await asyncio.to_thread(content.write, file, form)
        table.add_row("file", f"{content.lines:,} lines, {file.stat().st_size / 1e6:,.0f} MB as {form}")
        arguments = ("--data-dir", str(directory / "files"))
        async with running_service(available()[0], cluster.url, directory, arguments=arguments) as service:
            rows, taken = await _measured(service, content, file, kills, seconds, beside=beside)
            async with RedisCluster.from_url(cluster.url, protocol=2) as nodes:
                wrong = str(await wrong_users(nodes, content))
            rows.append((f"users that are wrong, of {min(SAMPLED, content.users):,}", wrong))
            console.print("… StreamSegments over the file's users")
            stream = await streamed(service, seconds, pool_of(content))
            share = f"{stream:,.0f} memberships/s; the file {taken / stream:.2f} of it"
            rows.append(("StreamSegments over the file's users", share))
            for row in rows:
                table.add_row(*row)
    return table


async def _measured(
    service: Service, content: Content, file: Path, kills: list[int], seconds: float, *, beside: bool
) -> tuple[list[tuple[str, str]], float]:
    """Rows of the table, and the file's memberships applied per second."""
    console.print("… StreamSegments")
    stream = await streamed(service, seconds)
    rows = [("StreamSegments", f"{stream:,.0f} memberships/s")]
    headers, address = {"authorization": service.token}, f"http://{service.http[0]}:{service.http[1]}"
    watched = Watched()
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120) as http:
        watched.look(service, 0)
        console.print("… upload")
        began = time.monotonic()
        job_id = await upload(http, file)
        rows.append(("upload", f"{time.monotonic() - began:.1f} s"))
        began = time.monotonic()
        state = await applied(http, service, job_id, kills, watched)
        taken = 2 * content.lines / (time.monotonic() - began)
        turns = await _by_turns(service, http, file, seconds) if beside else []
    rows += [
        ("applied", f"{taken:,.0f} memberships/s, {taken / stream:.2f} of StreamSegments"),
        *watched.rows(),
        ("counters right", str(state["num_valid"] == 2 * content.lines and state["phase"] == "completed")),
    ]
    return rows + turns, taken


async def _by_turns(service: Service, http: httpx.AsyncClient, file: Path, seconds: float) -> list[tuple[str, str]]:
    """The ratios of live calls beside a job to live calls alone."""
    rates, p99s = [], []
    for turn in range(LIVE_TURNS):
        console.print(f"… live calls alone, and beside a job ({turn + 1} of {LIVE_TURNS})")
        alone = await live(service, "unary", seconds)
        ending = asyncio.create_task(applied(http, service, await upload(http, file), [], Watched()))
        beside = await live(service, "unary", seconds)
        if ending.done():
            sys.exit("the file was applied before live calls were measured: take more --lines")
        await ending
        rates.append(beside.ok_per_second / alone.ok_per_second)
        p99s.append(beside.answered_ms.p99 / alone.answered_ms.p99)
    return [("live calls beside it, of their rate alone", _spread(rates)), ("their p99, of that alone", _spread(p99s))]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} in the median ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch", description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000, help="lines of the file, of two segments each")
    parser.add_argument("--ends", choices=ENDS, default="one", help="at how many times these end")
    parser.add_argument("--form", choices=("text", "gzip", "avro"), default="text")
    parser.add_argument("--kill", type=int, nargs="*", default=[], metavar="PERCENT", help="kill what applies it there")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement of calls takes")
    parser.add_argument("--live", action="store_true", help="have live calls beside it")
    arguments = parser.parse_args()
    if problem := load.missing():
        sys.exit(problem)
    configure_logging("warning")
    content = Content(arguments.lines, ENDS[arguments.ends], max(1, arguments.lines // LINES_OF_A_USER))
    work = bench(content, arguments.form, sorted(arguments.kill), arguments.seconds, beside=arguments.live)
    console.print(uvloop.run(work))


if __name__ == "__main__":
    main()
