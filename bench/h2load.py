"""Drives small calls with h2load (Debian's nghttp2-client), where it is installed: at tens of thousands of calls a
second a client in Python is the bottleneck. It sends one body all the time, and sees HTTP statuses alone; that the
calls were carried out shows in the cluster's own count of commands.
"""

import asyncio
import re
import shutil
import tempfile
from pathlib import Path

from redis.asyncio import RedisCluster

from bench.http2 import LoadError
from bench.load import Result
from bench.workload import Shape

WARMUP_SECONDS = 1


def is_installed() -> bool:
    """Whether h2load is on PATH."""
    return shutil.which("h2load") is not None


async def drive(
    url: str,
    headers: dict[str, str],
    body: bytes,
    shape: Shape,
    *,
    redis: str,
    connections: int,
    in_flight: int,
    seconds: float,
) -> Result:
    """Post the body: so many connections with so many calls in flight each."""
    with tempfile.TemporaryDirectory() as directory:
        data, log = Path(directory, "body"), Path(directory, "log")
        await asyncio.to_thread(data.write_bytes, body)
        argv = ["h2load", f"--duration={seconds:.0f}", f"--warm-up-time={WARMUP_SECONDS}", "--threads=1"]
        argv += [f"--clients={connections}", f"--max-concurrent-streams={in_flight}", f"--log-file={log}"]
        argv += [f"--data={data}", *(f"--header={name}: {value}" for name, value in headers.items()), url]
        written = await _commands_written(redis)
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        report, _ = await process.communicate()
        written = await _commands_written(redis) - written
        lines = (await asyncio.to_thread(log.read_bytes)).splitlines()
    latencies = sorted(int(line.split(b"\t")[2]) for line in lines)
    found = re.search(rb"(\d+) succeeded, (\d+) failed", report)
    if found is None or int(found[2]) or not latencies:
        raise LoadError(f"h2load says: {report.decode()}")
    calls = int(found[1])
    if written < calls * shape.users:
        raise LoadError(f"{calls} calls were answered, but the cluster counts {written} commands")
    return Result(calls / seconds, latencies[len(latencies) // 2] / 1000, latencies[len(latencies) * 99 // 100] / 1000)


async def _commands_written(redis: str) -> int:
    """How many HSETEX the cluster's nodes have carried out; the one of each script (the quota's) does not count."""
    async with RedisCluster.from_url(redis, protocol=2) as cluster:
        answers = await cluster.info("commandstats", target_nodes=RedisCluster.PRIMARIES)
    nodes = answers.values() if all(isinstance(answer, dict) for answer in answers.values()) else [answers]
    return sum(_calls(node, "hsetex") - _calls(node, "eval") for node in nodes)


def _calls(commandstats: dict[str, dict[str, int]], command: str) -> int:
    return int(commandstats.get(f"cmdstat_{command}", {"calls": 0})["calls"])
