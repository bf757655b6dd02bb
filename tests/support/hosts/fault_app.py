"""Methods whose collaborators raise exceptions on demand, and a record of what was noted of calls.

The headers `x-faults` and `x-request-id` (one that Envoy leaves alone, one that the native host passes on) list,
separated by commas, which collaborators raise in a call. The method `Noted` returns what was noted since its last call.
`python -m support.hosts.fault_app ADDRESS HOST` serves them on that host.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2
from instantaudience_server.admission.admission import Admission
from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.posts import Post, Result, fail, succeed
from instantaudience_server.store.interfaces.usage import CallFailure
from instantaudience_server.transport.calls import call_log, outcomes
from instantaudience_server.transport.calls.kinds import (
    AnyMethod,
    CollectMethod,
    Method,
    Posting,
    PublicMethod,
    PublicStreamMethod,
    StreamMethod,
)
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.hosts import grpcio, native, native_streams
from instantaudience_server.transport.hosts.grpcio import GrpcioHost
from instantaudience_server.transport.hosts.native import NativeHost
from instantaudience_server.transport.status import Failure

from support.parts.callers import caller, demo_catalog
from support.parts.limits import CALL_LIMITS, CONNECTION_LIMITS
from support.parts.pipelines import pipeline_of

SERVICE = "faults.Service"
SECRET = "12345678900987654321"
"""Part of the exceptions' texts; it must not appear in any response or log."""
LIMIT_BYTES = 1_048_576

_faults: ContextVar[frozenset[str]] = ContextVar("faults", default=frozenset())


def raising(fault: str) -> bool:
    """Whether this fault is requested by the current call."""
    return fault in _faults.get()


def _is_to_fail(who: str) -> bool:
    """Whether `fail_as` would raise for this collaborator."""
    return any(fault.partition(":")[0] == who for fault in _faults.get())


def fail_as(fault: str) -> None:
    """Raise if this fault is requested; `…:refused` and `…:cancelled` raise specific errors."""
    if raising(f"{fault}:refused"):
        raise AudienceError(Reason.SYNTAX, "refused")
    if raising(f"{fault}:cancelled"):
        raise asyncio.CancelledError
    if raising(fault):
        raise RuntimeError(SECRET)


class _Noted:
    """What was noted of calls."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.counts: list[str] = []
        self.failures = 0
        self.events: list[str] = []

    def count_call(self, path: str, code: int, _seconds: float | None) -> None:
        fail_as("metric")
        self.counts.append(f"{path.rpartition('/')[2]} {code}")

    def count_answers(self, path: str, seconds: Sequence[float]) -> None:
        for each in seconds:
            self.count_call(path, code_pb2.OK, each)

    def info(self, event: str, **fields: str) -> None:
        assert SECRET not in str(fields)
        fail_as("log")

    warning = info

    def error(self, event: str, exc_info: BaseException, **fields: str) -> None:
        assert SECRET not in str(fields)
        fail_as("log")
        self.events.append(event)


class _Usage:
    """Counts failed calls."""

    def __init__(self, noted: _Noted) -> None:
        self._noted = noted

    def count_failure(self, member_id: int, failure: CallFailure) -> "asyncio.Future[None]":
        fail_as("usage")
        counted = asyncio.get_running_loop().create_future()
        if raising("counted"):
            counted.set_exception(RuntimeError(SECRET))
        elif raising("counted:cancelled"):
            counted.cancel()
        else:
            self._noted.failures += 1
            counted.set_result(None)
        return counted


class _Tokens:
    """Accepts every token."""

    def __init__(self) -> None:
        self._caller = caller("demo", demo_catalog())

    async def verify(self, token: str, deadline: float) -> Caller:
        fail_as("tokens")
        return self._caller

    def known(self, token: str) -> Caller | None:
        """None if `verify` is to fail."""
        fail_as("known")
        return None if _is_to_fail("tokens") else self._caller


class _Admission(Admission):
    """Admits every call."""

    async def enter(self, *arguments: Any, **options: Any) -> Ticket:
        fail_as("admission")
        return await super().enter(*arguments, **options)

    def enter_at_once(self, *arguments: Any, **options: Any) -> Ticket | None:
        """None if `enter` is to fail."""
        return None if _is_to_fail("admission") else super().enter_at_once(*arguments, **options)


class _Request:
    """A request whose parsing may fail."""

    DESCRIPTOR = Struct.DESCRIPTOR

    @staticmethod
    def FromString(body: bytes) -> Struct:  # noqa: N802 - protobuf's name
        fail_as("request")
        return Struct.FromString(body)


class _PostedRequest(_Request):
    """A request as part of a post."""

    @staticmethod
    def FromString(body: bytes) -> Any:  # noqa: N802 - protobuf's name
        _Request.FromString(body)
        return SimpleNamespace(users=[], size_bytes=0, validate_only=False, warning_form=None)


class _Answer:
    """An answer whose encoding may fail."""

    def SerializeToString(self, *, deterministic: bool = False) -> bytes:  # noqa: N802 - protobuf's name
        fail_as("answer")
        return Struct().SerializeToString()


async def _handle(*_: Any) -> Any:
    fail_as("service")
    return _Answer()


async def _start(*_: Any) -> Awaitable[Any]:
    fail_as("start")
    return _handle()


async def _collect(requests: AsyncIterator[Struct], *_: Any) -> Any:
    answer = None
    async for request in requests:
        answer = await _handle(request)
    return answer


def _add(posts: Sequence[Post], _: Caller) -> None:
    """Process posts in the next turn of the event loop."""
    asyncio.get_running_loop().call_soon(_end, posts)


def _end(posts: Sequence[Post]) -> None:
    try:
        fail_as("service")
    except asyncio.CancelledError:
        for post in posts:
            post.owner.give_up(post)
    except Exception as error:
        fail(posts, error)
    else:
        succeed(posts, [Result(0, 0)] * len(posts))


def _refuse(failure: Failure) -> Message:
    fail_as("refuse")
    struct = Struct()
    struct.update({"code": failure.code, "details": len(failure.status.details)})
    return struct


async def _watch(requests: AsyncIterator[Struct]) -> AsyncIterator[Any]:
    async for request in requests:
        yield await _handle(request)


def _methods(noted: _Noted) -> list[AnyMethod]:
    async def tell(*_: Any) -> Message:
        struct = Struct()
        struct.update({"counts": noted.counts, "failures": noted.failures, "events": noted.events})
        noted.forget()
        return struct

    path = f"/{SERVICE}/".__add__
    request: Any = _Request
    posted: Any = _PostedRequest
    posting = Posting(_add, lambda _: _Answer())
    return [
        Method(path("Unary"), request, _handle),
        PublicMethod(path("PublicUnary"), request, _handle),
        StreamMethod(path("Stream"), request, _start, _refuse),
        StreamMethod(path("StrictStream"), request, _start, None),
        CollectMethod(path("Collect"), request, _collect),
        Method(path("Posted"), posted, _handle, posting),
        StreamMethod(path("PostedStream"), posted, _start, _refuse, posting),
        PublicStreamMethod(path("PublicStream"), request, _watch),
        PublicMethod(path("Noted"), Struct, tell),
    ]


def _pipeline(noted: _Noted) -> Pipeline:
    usage: Any = _Usage(noted)
    tokens: Any = _Tokens()
    return pipeline_of(tokens, usage, _Admission(lambda low, _: low, **CALL_LIMITS), body_limit_bytes=LIMIT_BYTES)


def _install(noted: _Noted) -> None:
    """Insert fault points where modules call functions of others."""
    described = outcomes.describe

    def describe(error: AudienceError) -> Failure:
        fail_as("describe")
        return described(error)

    outcomes.describe = describe
    outcomes.count_call = noted.count_call
    outcomes.count_answers = noted.count_answers
    call_log.log = noted


async def _serve(address: str, host: str) -> None:
    noted = _Noted()
    _install(noted)
    open_host = {"grpcio": _grpcio_host, "native": _native_host}[host]
    opened = open_host(_methods(noted), _pipeline(noted), address)
    await opened.start()
    await asyncio.Event().wait()


def _native_host(methods: list[AnyMethod], pipeline: Pipeline, address: str) -> NativeHost:
    call = native.Call

    def read_call(*fields: Any) -> Any:
        _faults.set(frozenset(fields[1].split(",")))
        fail_as("headers")
        return call(*fields)

    begin_together = NativeHost._begin_together

    def begin(self: Any, index: int, authorization: str, calls: Any) -> None:
        """Replaces the processing of natively read calls, which this application does not have; if that is to fail,
        calls are begun one by one."""
        _faults.set(frozenset(calls[0].request_id.split(",")))
        if raising("headers") or raising("request"):
            self._begin([each.fields() for each in calls])
        else:
            begin_together(self, index, authorization, calls)

    native.Call = native_streams.Call = read_call
    NativeHost._begin_together = begin  # type: ignore[method-assign]
    return NativeHost(
        methods,
        pipeline,
        [address],
        message_limit_bytes=LIMIT_BYTES,
        call_timeout_seconds=5.0,
        **CONNECTION_LIMITS,
    )


def _grpcio_host(methods: list[AnyMethod], pipeline: Pipeline, address: str) -> GrpcioHost:
    serve, call = grpcio._Handlers.service, grpcio._call

    def service(self: Any, details: grpc.HandlerCallDetails) -> Any:
        _faults.set(frozenset(str(dict(details.invocation_metadata).get("x-faults", "")).split(",")))
        return serve(self, details)

    def read_call(context: Any) -> Any:
        fail_as("headers")
        return call(context)

    grpcio._Handlers.service = service  # type: ignore[method-assign]
    grpcio._call = read_call
    return GrpcioHost(
        methods,
        pipeline,
        [address],
        message_limit_bytes=LIMIT_BYTES,
        call_timeout_seconds=5.0,
    )


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
