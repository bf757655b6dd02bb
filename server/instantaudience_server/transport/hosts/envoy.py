"""The Envoy host: gRPC's protocol as an ASGI application, run inside Envoy (pyvoy) behind the gateway's filters.

Sources: doc/PROTOCOL-HTTP2.md in grpc/grpc; the ASGI HTTP specification with its trailers extension. For speed, a unary
call runs in a single coroutine, and as little as possible is done for each call.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from instantaudience_server.transport.calls.kinds import (
    AnyMethod,
    AnyStreamMethod,
    CollectMethod,
    PublicStreamMethod,
    StreamMethod,
)
from instantaudience_server.transport.calls.outcomes import CallerLeft, CallError
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.calls.streaming import in_time
from instantaudience_server.transport.framing import Flaw, flawed
from instantaudience_server.transport.hosts.exchange import Event, Exchange, Receive, Send

_GRPC_TYPES = (b"application/grpc", b"application/grpc+proto")
LOOK_SECONDS = 0.1
"""The interval at which the host checks whether the callers of long calls are still connected."""


class GrpcApplication:
    """Serves methods by path. A message larger than `message_limit_bytes` fails its call."""

    def __init__(self, methods: Sequence[AnyMethod], pipeline: Pipeline, *, message_limit_bytes: int) -> None:
        self._methods = {method.path: method for method in methods}
        self._pipeline = pipeline
        self._message_limit_bytes = message_limit_bytes
        self._loop = asyncio.get_running_loop()
        self._exchanges: set[Exchange] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = Exchange(scope["headers"], receive, send, self._message_limit_bytes)
        self._exchanges.add(exchange)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(LOOK_SECONDS, self._sweep)
        try:
            if exchange.headers.get(b"content-type") not in _GRPC_TYPES or scope["method"] != "POST":
                await exchange.refuse_media_type()
                return
            method = self._methods.get(scope["path"])
            if method is None:
                raise flawed(Flaw.NO_SUCH_METHOD)
            exchange.path = method.path
            if exchange.headers.get(b"te") != b"trailers":
                raise flawed(Flaw.NO_TRAILERS)
            exchange.task = asyncio.current_task(self._loop)
            if isinstance(method, StreamMethod | CollectMethod | PublicStreamMethod):
                await self._stream(method, exchange)
            else:
                await exchange.answer(await self._pipeline.run(method, exchange.only_message, exchange.call()))
        except CallError as error:
            await exchange.fail(error.failure)
        except (CallerLeft, OSError):
            pass  # The pipeline lets no OSError out: this one is pyvoy's, for a caller who has left.
        except asyncio.CancelledError:
            if not exchange.caller_left:
                raise
        except Exception as error:
            await self._refuse(exchange, error)
        finally:
            self._exchanges.discard(exchange)

    def _sweep(self) -> None:
        """Check the calls under way: one timer for all, because most calls end before their first check."""
        now = self._loop.time()
        for exchange in self._exchanges:
            exchange.look(self._loop)
            if exchange.overdue(now):
                exchange.refusing = self._loop.create_task(self._refuse(exchange, flawed(Flaw.NOT_RECEIVED)))
        self._sweeper = self._loop.call_later(LOOK_SECONDS, self._sweep) if self._exchanges else None

    async def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """Fail a call whose member is not known."""
        refused = self._pipeline.outcomes.refused(exchange.path, exchange.request_id, error)
        await exchange.fail(refused.failure)

    async def _stream(self, method: AnyStreamMethod, exchange: Exchange) -> None:
        exchange.keep_futures()
        call = exchange.call()
        running = self._pipeline.run_stream(method, exchange.messages(), call)
        async with in_time(call), aclosing(running) as answers:
            async for answer in answers:
                await exchange.send_message(answer)
        await exchange.end()
