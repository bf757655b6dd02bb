"""Runs a host with an application of the tests' own in a process of its own."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from instantaudience_server.process.processes import Child, Program, free_ports

from support.hosts.interop_app import SERVICE

HOST = "127.0.0.1"
START_SECONDS = 30.0
LARGE_BYTES = 64 * 1_048_576


@dataclass(frozen=True)
class Host:
    """A running host; its output and the application's go to `output`."""

    mode: str
    address: str
    output: Path
    child: Child

    def channel(self) -> grpc.aio.Channel:
        """A channel with a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", LARGE_BYTES)]
        return grpc.aio.insecure_channel(self.address, options=options)


@asynccontextmanager
async def running_host(mode: str, module: str = "support.hosts.interop_app") -> AsyncIterator[Host]:
    """Run the application in a process of its own: `python -m MODULE ADDRESS MODE`. A process with gRPC's threads must
    not fork."""
    with tempfile.TemporaryDirectory(prefix="ia-host-") as name:
        address, output = f"{HOST}:{free_ports(HOST, 1)[0]}", Path(name) / "output"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        argv = [sys.executable, "-m", module, address, mode]
        child = await Child.start(Program("host", argv, env=environment, output=output))
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _answers(address):
                    assert child.returncode is None, output.read_text()
                    await asyncio.sleep(0.02)
            yield Host(mode, address, output, child)
        finally:
            await child.stop(5)


async def _answers(address: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address.split(":"))
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def path(method: str) -> str:
    """The path of a method."""
    return f"/{SERVICE}/{method}"


def struct(**fields: Any) -> Struct:
    """A request with these fields."""
    message = Struct()
    message.update(fields)
    return message


def unary(channel: grpc.aio.Channel, method: str = "Unary") -> Any:
    """The stub of a unary method."""
    return channel.unary_unary(
        path(method), request_serializer=Struct.SerializeToString, response_deserializer=Struct.FromString
    )


def streaming(channel: grpc.aio.Channel, method: str) -> Any:
    """The stub of a streaming method."""
    return channel.stream_stream(
        path(method), request_serializer=Struct.SerializeToString, response_deserializer=Struct.FromString
    )


async def report(channel: grpc.aio.Channel, **fields: Any) -> dict[str, int]:
    """The application's report: `running` handlers, and `tasks` and `streams`, including those of this call."""
    answer = await unary(channel, "Report")(struct(**fields))
    return {name: int(answer[name]) for name in ("running", "tasks", "streams")}
