"""The server side of grpcio's interop tests (doc/interop-test-descriptions.md in grpc/grpc).

`python -m support.hosts.interop_app ADDRESS native` serves them on the native host.
Messages are `google.protobuf.Struct`s; a request's fields control the answer: `size` (number of characters), `sizes`
(the same for each of several answers), `fail` (name of a `Reason`) with `message`, `hang` (never answer).
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from instantaudience_server.admission.admission import Admission
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.process.clock import SystemClock
from instantaudience_server.store.interfaces.usage import Addition
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import (
    AnyMethod,
    Method,
    PublicMethod,
    PublicStreamMethod,
    StreamMethod,
)
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.hosts.native import NativeHost
from instantaudience_server.transport.methods.standard import ServingStatus, standard_methods
from instantaudience_server.transport.status import Failure
from instantaudience_server.usage.counting import Usage

from support.parts.callers import caller, demo_catalog
from support.parts.limits import CONNECTION_LIMITS
from support.parts.pipelines import pipeline_of

SERVICE = "interop.TestService"
LIMIT_BYTES = 1_048_576
CALL_TIMEOUT_SECONDS = 60.0
GOOD_TOKEN = "good"
MOST_CHARACTERS = 2**26


class _Tokens:
    """Accepts one token, and looks it up each time."""

    def __init__(self) -> None:
        self._caller = caller("demo", demo_catalog())

    async def verify(self, token: str, deadline: float) -> Caller:
        if token != GOOD_TOKEN:
            raise AudienceError(Reason.NOAUTH, "The token is not known")
        return self._caller

    def known(self, token: str) -> None:
        return None


class _Uncounted:
    """Discards what is counted."""

    def add(self, addition: Addition, deadline: float) -> "asyncio.Future[None]":
        added: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        added.set_result(None)
        return added


class _Methods:
    """The methods; `running` is the number of handlers in progress."""

    def __init__(self, status: ServingStatus) -> None:
        self._status = status
        self._loop = asyncio.get_running_loop()
        self.running = 0

    async def empty(self, request: Empty, _: Call, deadline: float) -> Message:
        return Empty()

    async def unary(self, request: Struct, _: Call, deadline: float) -> Message:
        return await self._counted(request, deadline)

    async def _counted(self, request: Struct, deadline: float) -> Message:
        self.running += 1
        try:
            return await self._answer(request, deadline)
        finally:
            self.running -= 1

    async def unary_of_caller(self, request: Struct, _: Caller, deadline: float) -> Message:
        return await self._counted(request, deadline)

    async def collect(self, requests: AsyncIterator[Struct]) -> AsyncIterator[Message]:
        """Answer once with the number of requests, and the total length of their payloads."""
        self.running += 1
        try:
            lengths = [len(_field(request, "payload", "")) async for request in requests]
            yield _struct(count=len(lengths), length=sum(lengths))
        finally:
            self.running -= 1

    async def output(self, requests: AsyncIterator[Struct]) -> AsyncIterator[Message]:
        """Send the answers that each request asks for, before reading the next request."""
        self.running += 1
        try:
            async for request in requests:
                for size in _field(request, "sizes", []):
                    yield _struct(payload=_payload(size))
                await self._fail_or_hang(request)
        finally:
            self.running -= 1

    async def start(self, request: Struct, _: Caller, deadline: float) -> Awaitable[Message]:
        return self._counted(request, deadline)

    async def report(self, request: Struct, _: Call, deadline: float) -> Message:
        """Report the state of this process; `serving` sets the health first."""
        if "serving" in request:
            self._status.set_serving(request["serving"])
        gc.collect()
        kept = sum(type(thing).__name__ == "NativeStream" for thing in gc.get_objects())
        return _struct(running=self.running, tasks=len(asyncio.all_tasks()), streams=kept)

    async def _answer(self, request: Struct, deadline: float) -> Message:
        await self._fail_or_hang(request)
        left = deadline - self._loop.time()
        return _struct(payload=_payload(_field(request, "size", 0)), seconds_left=left)

    async def _fail_or_hang(self, request: Struct) -> None:
        if "fail" in request:
            raise AudienceError(Reason[request["fail"]], request["message"])
        if "hang" in request:
            await asyncio.Event().wait()


def _methods(status: ServingStatus) -> list[AnyMethod]:
    methods = _Methods(status)
    path = f"/{SERVICE}/".__add__
    return [
        PublicMethod(path("Empty"), Empty, methods.empty),
        PublicMethod(path("Unary"), Struct, methods.unary),
        Method(path("UnaryOfCaller"), Struct, methods.unary_of_caller),
        PublicStreamMethod(path("Collect"), Struct, methods.collect),
        PublicStreamMethod(path("Output"), Struct, methods.output),
        StreamMethod(path("Stream"), Struct, methods.start, _refusal),
        PublicMethod(path("Report"), Struct, methods.report),
        *standard_methods(status, (SERVICE,)),
    ]


def _refusal(failure: Failure) -> Message:
    return _struct(code=failure.code, message=failure.message)


def _struct(**fields: Any) -> Struct:
    struct = Struct()
    struct.update(fields)
    return struct


def _payload(size: Any) -> str:
    """A text of this length. Limited, since fuzzed requests may ask for more than fits into memory."""
    if not isinstance(size, float | int) or not 0 <= size <= MOST_CHARACTERS:
        raise AudienceError(Reason.SYNTAX, f"No answer has {size!r} characters")
    return "x" * int(size)


def _field(request: Struct, name: str, default: Any) -> Any:
    return request[name] if name in request else default  # noqa: SIM401 - a Struct has no `get`


async def interop_service(admission: Admission | None = None) -> tuple[list[AnyMethod], Pipeline]:
    """The methods and the pipeline for a host; without an `admission`, the usual one is used."""
    status = ServingStatus((SERVICE,))
    status.set_serving(True)
    pipeline = pipeline_of(
        _Tokens(),  # type: ignore[arg-type]
        Usage(_Uncounted(), demo_catalog(), SystemClock()),  # type: ignore[arg-type]
        admission,
        call_timeout_seconds=CALL_TIMEOUT_SECONDS,
        body_limit_bytes=LIMIT_BYTES,
    )
    return _methods(status), pipeline


async def _serve_on_native(address: str) -> None:
    host = NativeHost(
        *await interop_service(),
        [address],
        message_limit_bytes=LIMIT_BYTES,
        call_timeout_seconds=CALL_TIMEOUT_SECONDS,
        **CONNECTION_LIMITS,
    )
    await host.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_on_native(sys.argv[1]))
