"""What is measured: the service, the Go peer in `bench/peer`, and the cluster with its ceiling."""

import asyncio
import random
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.process.clock import SystemClock
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.interfaces.memberships import Alike, Changes
from instantaudience_server.store.keys import PLATFORM_PREFIX, membership_key
from instantaudience_server.store.membership_store import ClusterMembershipStore, ClusterWriting
from redis import RedisCluster
from redis.asyncio import Redis
from support.cluster import running as cluster_clients

from bench import load, processes
from bench.load import (
    CAMPAIGNS,
    EXPIRATION_MINUTES,
    FIRST_USER,
    POOL,
    USERNAME,
    Address,
    Lane,
    LoadError,
    Shape,
    write_catalog,
)

HOST = "127.0.0.1"
GATEWAY, WORKERS = "gateway", "workers"
PORTS = (GATEWAY, WORKERS)
PASSWORD = f"Bench-1-{secrets.token_hex()}"
"""The password of all accounts: services that share a cluster share its catalog, which has the passwords of the first.
"""


@dataclass(frozen=True, slots=True)
class Service:
    """The addresses of a service under test, its accounts' password and main process."""

    http: Address
    grpc: Address
    token: str
    password: str
    pid: int

    def address(self, port: str) -> Address:
        """The address of one of its ports."""
        return self.http if port == GATEWAY else self.grpc


def ports(call: str, host_mode: str) -> tuple[str, ...]:
    """The ports on which calls of this kind are measured: gRPC on the workers', REST on the gateway's and, over HTTP/2
    where workers take it, too, then on theirs."""
    if call in ("unary", "stream"):
        return (WORKERS,)
    return PORTS if call == "rest" and host_mode == "native" else (GATEWAY,)


@asynccontextmanager
async def running_service(
    host_mode: str,
    redis: str,
    directory: Path,
    usernames: Sequence[str] = (USERNAME,),
    *,
    arguments: Sequence[str] = (),
    write: Callable[[Path, str, Sequence[str]], None] = write_catalog,
) -> AsyncIterator[Service]:
    """Run the service on free ports, with its own catalog; the first of its accounts has signed in."""
    catalog_file = directory / f"{host_mode}.yaml"
    write(catalog_file, PASSWORD, usernames)
    argv = [sys.executable, "-m", "instantaudience_server", "serve", "--host-mode", host_mode, "--redis", redis]
    argv += ["--http-port", "0", "--grpc-port", "0", "--catalog", str(catalog_file), *arguments]
    async with running(argv, directory / f"{host_mode}.log") as (http, grpc, pid):
        yield Service(http, grpc, await signed_in(http, usernames[0], PASSWORD), PASSWORD, pid)


@asynccontextmanager
async def running(argv: Sequence[str], log: Path) -> AsyncIterator[tuple[Address, Address, int]]:
    """Run a server that prints its HTTP and gRPC addresses on two lines; yields these and its process ID."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        http = _address(await process.stdout.readline(), log)
        grpc = _address(await process.stdout.readline(), log)
        yield http, grpc, process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def signed_in(http: Address, username: str, password: str, ca: Path | None = None) -> str:
    """A token of this account; with a CA file, over TLS."""
    scheme, verify = ("https", ssl.create_default_context(cafile=ca)) if ca else ("http", False)
    async with httpx.AsyncClient(base_url=f"{scheme}://{http[0]}:{http[1]}", verify=verify) as client:
        answer = await client.post("/auth", json={"auth": {"username": username, "password": password}})
    return str(answer.raise_for_status().json()["response"]["token"])


def _address(line: bytes, log: Path) -> Address:
    found = re.search(r"([\d.]+):(\d+)$", line.decode().strip())
    if found is None:
        sys.exit(f"it did not start:\n{log.read_text()}")
    return found[1], int(found[2])


PEER_SOURCE = Path(__file__).with_name("peer")
PEER = Path(__file__).parents[1] / "build" / "go-peer"
NOBODY = "none"
"""Stands for a token, which the peer does not check."""


def peer_missing() -> str | None:
    """What is missing to run the peer here, or None."""
    return None if shutil.which("go") else "go is not on PATH: install Go to build the peer"


@asynccontextmanager
async def running_peer(node_ports: Sequence[int], directory: Path) -> AsyncIterator[Service]:
    """Run the peer on free ports; it is rebuilt if its source has changed. The cluster's nodes are in the order of
    their slots."""
    built = await asyncio.to_thread(subprocess.run, [PEER_SOURCE / "build", PEER], check=False)
    if built.returncode:
        raise LoadError("the Go peer could not be built")
    nodes = [f"127.0.0.1:{port}" for port in node_ports]
    async with running([str(PEER), *nodes], directory / "go.log") as (http, grpc, pid):
        yield Service(http, grpc, NOBODY, NOBODY, pid)


STALLED_SECONDS = 60.0
AT_ONCE = 1000
UNDER_WAY = 8
"""How many users are written at once, and how many such writes are in flight."""
connected = partial(cluster_clients.connected, max_pending_bytes=2**30, stalled_seconds=STALLED_SECONDS)
"""Opens the service's own client of a cluster."""
LOOK_SECONDS = 0.2
STEADY = {"auto-aof-rewrite-percentage": "0"}
"""Disables rewrites of append-only files, which would occupy nodes for seconds, and by chance affect only one of the
contenders."""


class Holding(NamedTuple):
    """Totals of all nodes, in bytes: memory in use and resident, append-only files, bytes received and sent so far; and
    CPU time in seconds."""

    used: int
    resident: int
    files: int
    received: int
    sent: int
    processor_seconds: float


@asynccontextmanager
async def running_cluster(config: Mapping[str, str] | None = None) -> AsyncIterator[tuple[Path, EmbeddedCluster]]:
    """Run an embedded cluster with additional configuration of its nodes; yields its directory, which others may use
    too, and the cluster."""
    with TemporaryDirectory(prefix="instant-audience-bench-") as name:
        directory = Path(name)
        cluster = EmbeddedCluster(directory / "data", extra_config=config)
        await cluster.start()
        try:
            yield directory, cluster
        finally:
            await cluster.stop()


async def fill(url: str, places: Sequence[int], blocks: int, *, first_segment: int = 1) -> None:
    """Write the users with these places in the pool, as calls with this many blocks would."""
    async with connected(url) as cluster:
        store, under_way = ClusterMembershipStore(cluster), deque[ClusterWriting]()
        for start in range(0, len(places), AT_ONCE):
            changes = _changes(places[start : start + AT_ONCE], blocks, first_segment)
            deadline = asyncio.get_running_loop().time() + STALLED_SECONDS
            under_way.append(store.write(changes, deadline))
            if len(under_way) == UNDER_WAY:
                await _written(under_way.popleft())
        for writing in under_way:
            await _written(writing)


async def fill_anew(embedded: EmbeddedCluster, blocks: int) -> None:
    """Delete all users, and write those of the pool with this many blocks each, in random order.

    Nodes keep users in memory in the order of their creation, and real calls do not name them in that order, so the
    users of a call are not adjacent in memory.
    """
    for port in embedded.ports:
        async with Redis(host=HOST, port=port) as node, node.pipeline(transaction=False) as removal:
            async for key in node.scan_iter(f"{PLATFORM_PREFIX.decode()}*", count=AT_ONCE):
                removal.unlink(key)
            await removal.execute()
    await fill(embedded.url, random.Random(POOL).sample(range(POOL), POOL), blocks)


async def look(embedded: EmbeddedCluster) -> Holding:
    """Inspect all nodes, once none of them is rewriting its file."""
    infos = [await _info(port) for port in embedded.ports]
    while any(info["aof_rewrite_in_progress"] for info in infos):
        await asyncio.sleep(LOOK_SECONDS)
        infos = [await _info(port) for port in embedded.ports]
    names = ("used_memory", "used_memory_rss", "aof_current_size", "total_net_input_bytes", "total_net_output_bytes")
    used, resident, files, received, sent = (sum(info[name] for info in infos) for name in names)
    busy = processes.processor_seconds(node.child.pid for node in embedded.nodes)
    return Holding(used, resident, files, received, sent, busy)


def _changes(places: Sequence[int], blocks: int, first_segment: int) -> Changes:
    end_ms = SystemClock().now_ms() + EXPIRATION_MINUTES * 60_000
    changes = []
    for campaign in range(CAMPAIGNS):
        keys = [membership_key(b"p", b"%d" % (FIRST_USER + place)) for place in places if place % CAMPAIGNS == campaign]
        values = {segment_id + first_segment - 1: value for segment_id, value in Shape(1, blocks).blocks_of(campaign)}
        changes.append(Alike(keys, {end_ms: values}))
    return changes


async def _written(writing: ClusterWriting) -> None:
    await writing.done
    for error in writing.failures().values():
        raise error


async def _info(port: int) -> dict[str, int]:
    async with Redis(host=HOST, port=port) as client:
        return dict(await client.info())


CALLS_IN_FLIGHT = 16
"""Maximum number of unanswered writes to a node; each is the node's part of one call."""
READ_BYTES = 262_144
END_STEP_MS = 1000
"""How much later the memberships of each round through the pool end: setting the same end again is cheaper for nodes.
"""


def ceiling(url: str, shape: Shape, seconds: float, places: Sequence[int] = range(POOL)) -> float:
    """Calls per second that the cluster accepts without any checks, for users with these places in the pool."""
    end_ms = (int(time.time()) + EXPIRATION_MINUTES * 60) * 1000
    encoded = _encode(url, shape, end_ms, places)
    threads, counts = [], []
    stop = time.perf_counter() + seconds
    for address, writes in encoded.items():
        done = [0]
        counts.append(done)
        threads.append(threading.Thread(target=_write, args=(address, writes, end_ms, stop, done)))
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commands_per_second = sum(done[0] for done in counts) / (time.perf_counter() - started)
    return commands_per_second / shape.users


def _encode(
    url: str, shape: Shape, end_ms: int, places: Sequence[int]
) -> dict[tuple[str, int], list[tuple[bytes, int]]]:
    """For each node, the writes of each call: bytes, and the number of commands in them."""
    with RedisCluster.from_url(url, protocol=2) as cluster:
        nodes = cluster.nodes_manager.slots_cache
        owner = {slot: (owners[0].host, owners[0].port) for slot, owners in nodes.items()}
    writes: dict[tuple[str, int], list[tuple[bytes, int]]] = {}
    for call in shape.calls(places):
        parts: dict[tuple[str, int], list[bytes]] = {}
        for user_id, blocks in call:
            key = keys.membership_key(b"p", user_id.encode())
            slot, packed = commands.on_key(key, commands.setting(end_ms, dict(blocks)))
            parts.setdefault(owner[slot], []).append(packed)
        for address, packed_commands in parts.items():
            writes.setdefault(address, []).append((b"".join(packed_commands), len(packed_commands)))
    return writes


def _write(
    address: tuple[str, int], writes: list[tuple[bytes, int]], end_ms: int, stop: float, done: list[int]
) -> None:
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        position, in_flight, answered = 0, 0, 0
        waiting: list[int] = []
        packed_end = b"%d" % end_ms
        while time.perf_counter() < stop:
            while in_flight < CALLS_IN_FLIGHT:
                rounds, place = divmod(position, len(writes))
                data, count = writes[place]
                connection.sendall(data.replace(packed_end, b"%d" % (end_ms + rounds * END_STEP_MS)))
                waiting.append(count)
                position += 1
                in_flight += 1
            answered += _integers(connection.recv(READ_BYTES))
            while waiting and answered >= waiting[0]:
                answered -= waiting[0]
                done[0] += waiting.pop(0)
                in_flight -= 1


def _integers(replies: bytes) -> int:
    """The number of replies in this data; anything but integers is an error."""
    if b"-" in replies:
        raise RuntimeError(f"the cluster refused a command: {replies!r}")
    return replies.count(b"\n")


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
    lane = Lane(run.name, *calling, run.shape, run.connections, run.in_flight)
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
