"""The ceiling: the commands that the service would send, encoded in advance and written to the nodes over plain
sockets."""

import socket
import threading
import time
from collections.abc import Sequence

from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from redis import RedisCluster

from bench.workload import EXPIRATION_MINUTES, POOL, Shape

CALLS_IN_FLIGHT = 16
"""Maximum number of unanswered writes to a node; each is the node's part of one call."""
READ_BYTES = 262_144
END_STEP_MS = 1000
"""How much later the memberships of each round through the pool end: setting the same end again is cheaper for nodes.
"""


def measure(url: str, shape: Shape, seconds: float, places: Sequence[int] = range(POOL)) -> float:
    """Calls per second that the cluster accepts without any checks, for users with these places in the pool."""
    end_ms = (int(time.time()) + EXPIRATION_MINUTES * 60) * 1000
    encoded = _encode(url, shape, end_ms, places)
    threads, counts = [], []
    stop = time.perf_counter() + seconds
    for address, writes in encoded.items():
        done = [0]
        counts.append(done)
        threads.append(threading.Thread(target=_drive, args=(address, writes, end_ms, stop, done)))
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


def _drive(
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
