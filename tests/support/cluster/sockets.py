"""A fake connection to a node, without a network."""

import asyncio
from typing import Any

from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Batch, Listed
from instantaudience_server.store.cluster.node import Node

_SETTING = commands.on_key(b"m:p:1", commands.setting(0, {12: 1}))


class Socket:
    """Replaces redis-py's socket; accepts everything that is written."""

    def __init__(self) -> None:
        self._writer = self
        self.transport = self
        self.protocol: Any = None
        self.taken = asyncio.Event()
        self.written = bytearray()
        self.is_aborted = False

    async def connect(self) -> None:
        pass

    async def disconnect(self, nowait: bool) -> None:
        pass

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol
        self.taken.set()

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True


def ask(node: Node) -> Batch:
    """Send a command whose usual reply is 1."""
    group = Listed([_SETTING])
    batch = Batch([group], float("inf"), asyncio.get_running_loop())
    node.send(batch.part(group, [0]))
    return batch
