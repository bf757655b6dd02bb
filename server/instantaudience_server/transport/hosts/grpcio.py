"""The grpcio host: `grpc.aio` in front of the pipeline."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, NoReturn

import grpc

from instantaudience_server.errors import AudienceError
from instantaudience_server.process.waiting import Sweeper
from instantaudience_server.transport.calls.call import Body, Call, body_bytes, credential, waited_seconds
from instantaudience_server.transport.calls.kinds import (
    AnyMethod,
    AnyStreamMethod,
    CollectMethod,
    Method,
    PublicMethod,
    PublicStreamMethod,
    StreamMethod,
)
from instantaudience_server.transport.calls.outcomes import UNKNOWN_METHOD, CallError, Outcomes
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.framing import Flaw, flawed, too_long
from instantaudience_server.transport.status import (
    ADDRESS_KEY,
    BODY_BYTES_KEY,
    CERTIFICATE_KEY,
    START_KEY,
    STATUS_DETAILS_KEY,
    TRACE_PARENT_KEY,
)

GATEWAYS_HEADER_BYTES = 65_536
"""The limit of a request's headers. The gateway's own limit is lower, so that this one is never reached behind it."""
LIMITS_READ = 2
"""How many times as long as allowed a message may be for grpcio to hand it over, for this host to refuse it: grpcio's
own refusal has no details, and nobody counts it. What the gateway makes of JSON is always shorter. At most, that is 5.5
times as long as the JSON, whose limit is a quarter of a message's: a number in a list of any values (`0,`) takes 11
bytes."""
MOST_CALLS = 4096
"""The most calls and streams at once, and how many more may wait in grpc until Python looks at them. Others fail with
RESOURCE_EXHAUSTED, without the details of our errors; unary calls never get there, as the gateway has fewer."""
CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcioHost:
    """A gRPC server behind a gateway, on any number of addresses in gRPC's notation.

    It must be behind a gateway: a request path that is not UTF-8 stops it for good (see
    docs/adr/0001-hosts-and-gateway.md). A message larger than `message_limit_bytes` fails its call; one larger than
    `LIMITS_READ` times that does so in grpcio itself. A unary request must arrive within `call_timeout_seconds`.
    """

    def __init__(
        self,
        methods: Sequence[AnyMethod],
        pipeline: Pipeline,
        addresses: Sequence[str],
        *,
        message_limit_bytes: int,
        call_timeout_seconds: float,
    ) -> None:
        options = [
            # No HPACK table: grpcio does not add a header that it cannot read to the table, and so would misread all
            # later calls on the connection, which callers share.
            ("grpc.http2.hpack_table_size.decoder", 0),
            ("grpc.max_receive_message_length", LIMITS_READ * message_limit_bytes),
            ("grpc.max_send_message_length", -1),
            # No growing windows: on a busy machine, they would let many megabytes of a stream wait here.
            ("grpc.http2.bdp_probe", 0),
            # The same value for both: between a lower and a higher one, grpcio refuses headers at random.
            ("grpc.max_metadata_size", GATEWAYS_HEADER_BYTES),
            ("grpc.absolute_max_metadata_size", GATEWAYS_HEADER_BYTES),
            ("grpc.server.max_pending_requests", MOST_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", MOST_CALLS),
        ]
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
        requests = _Requests(pipeline.outcomes, message_limit_bytes, call_timeout_seconds)
        self._server.add_generic_rpc_handlers((_Handlers(methods, pipeline, requests),))
        for address in addresses:
            self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Begin to take calls."""
        await self._server.start()

    async def drain(self, grace_seconds: float) -> None:
        """Take no new calls, and wait `grace_seconds` for those under way; others are cancelled."""
        await self._server.stop(grace_seconds)


class _Handlers(grpc.GenericRpcHandler):
    """Serves the methods by path. Messages stay bytes, as the pipeline decodes them."""

    def __init__(self, methods: Sequence[AnyMethod], pipeline: Pipeline, requests: "_Requests") -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            method.path: (
                grpc.stream_stream_rpc_method_handler(_stream(method, pipeline, requests))
                if isinstance(method, StreamMethod | CollectMethod | PublicStreamMethod)
                else grpc.stream_unary_rpc_method_handler(_unary(method, pipeline, requests))
            )
            for method in methods
        }
        self._no_such_method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            _refuse(pipeline.outcomes)
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._handlers.get(handler_call_details.method) or self._no_such_method


class _Requests:
    """Reads messages up to a limit, those of unary calls in limited time: grpcio waits until the caller's deadline, or
    forever."""

    def __init__(self, outcomes: Outcomes, limit_bytes: int, most_seconds: float) -> None:
        self._outcomes = outcomes
        self._limit_bytes = limit_bytes
        self._most_seconds = most_seconds
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[Context, tuple[str, float]] = {}
        """For each call whose message is awaited: the method's path, and until when it waits; the oldest first."""
        self._sweeper = Sweeper()
        self._refusing: set[asyncio.Task[None]] = set()

    async def only_message(self, path: str, context: Context) -> Body:
        """The message of a call of the method at `path`, or a function that raises because there is none, or too long
        a one.

        If it does not arrive in time, `fail_overdue` refuses the call meanwhile.
        """
        self._awaited[context] = path, self._loop.time() + self._most_seconds
        self._sweeper.arm(self)
        try:
            message = await context.read()
        finally:
            self._awaited.pop(context, None)
        if not isinstance(message, bytes):
            return _raising(flawed(Flaw.MISSING))
        if len(message) > self._limit_bytes:
            return _raising(self._too_long(message))
        return message

    async def messages(self, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The messages of a stream.

        Raises:
            AudienceError: LIMIT, at one that is too long.
        """
        async for message in bodies:
            if len(message) > self._limit_bytes:
                raise self._too_long(message)
            yield message

    def _too_long(self, message: bytes) -> AudienceError:
        return too_long(len(message), self._limit_bytes)

    @property
    def busy(self) -> bool:
        """Whether messages are awaited."""
        return bool(self._awaited)

    def fail_overdue(self, now: float) -> None:
        """Refuse the calls whose messages have not arrived in time."""
        late = []
        for context, (path, until) in self._awaited.items():
            if until > now:
                break
            late.append((context, path))
        for context, path in late:
            del self._awaited[context]
            refusing = self._loop.create_task(self._refuse(context, path))
            self._refusing.add(refusing)
            refusing.add_done_callback(self._refusing.discard)

    async def _refuse(self, context: Context, path: str) -> None:
        """Fail a call whose member is not known. This also ends the read of its message, which cannot be cancelled."""
        with suppress(grpc.aio.BaseError):  # it may have ended by itself
            await _abort(context, self._outcomes.refused(path, "", flawed(Flaw.NOT_RECEIVED)))


def _raising(error: AudienceError) -> Body:
    async def read(_: float) -> bytes:
        raise error

    return read


def _unary(method: Method[Any] | PublicMethod[Any], pipeline: Pipeline, requests: _Requests) -> Any:
    async def handle(_: AsyncIterator[bytes], context: Context) -> bytes:
        try:
            body = await requests.only_message(method.path, context)
            return await pipeline.run(method, body, _call(context))
        except grpc.aio.AbortError:
            raise  # `_Requests` has refused it
        except CallError as error:
            await _abort(context, error)
        except Exception as error:
            await _abort(context, pipeline.outcomes.refused(method.path, "", error))

    return handle


def _stream(method: AnyStreamMethod, pipeline: Pipeline, requests: _Requests) -> Any:
    async def handle(bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            messages = requests.messages(bodies)
            async with aclosing(pipeline.run_stream(method, messages, _call(context))) as answers:
                async for answer in answers:
                    yield answer
        except CallError as error:
            await _abort(context, error)
        except Exception as error:
            await _abort(context, pipeline.outcomes.refused(method.path, "", error))

    return handle


def _call(context: Context) -> Call:
    said = {key: str(value) for key, value in context.invocation_metadata() or ()}
    return Call(
        credential(said.get("authorization", ""), said.get(CERTIFICATE_KEY, "")),
        said.get("x-request-id", ""),
        context.time_remaining(),
        body_bytes(said.get(BODY_BYTES_KEY, "")),
        waited_seconds(said.get(START_KEY, "")),
        said.get(ADDRESS_KEY, ""),
        said.get(TRACE_PARENT_KEY, ""),
        by_gateway=True,
    )


def _refuse(outcomes: Outcomes) -> Any:
    async def handle(_: AsyncIterator[bytes], context: Context) -> None:
        # grpcio's own refusal would have no details.
        await _abort(context, outcomes.refused(UNKNOWN_METHOD, "", flawed(Flaw.NO_SUCH_METHOD)))

    return handle


async def _abort(context: Context, error: CallError) -> NoReturn:
    failure = error.failure
    details = ((STATUS_DETAILS_KEY, failure.status.SerializeToString()),)
    await context.abort(CODES[failure.code], failure.message, (*failure.metadata, *details))
    raise error
