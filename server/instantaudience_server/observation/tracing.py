"""Spans of calls, if tracing is on (see `begin`). Otherwise all functions return at once, and OpenTelemetry is not
imported.

A call's span starts when the gateway or, without it, a worker saw the call. Work that is done for several calls
together has one span with links to theirs. No span contains a user ID, a token, or anything else that a caller sent,
except its request ID.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from google.rpc import code_pb2

from instantaudience_server.observation.exemplars import EXEMPLARS, outcome_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span
    from opentelemetry.trace import Link, Tracer
else:
    Span = Tracer = object

Attributes: TypeAlias = Mapping[str, str | int | Sequence[str]]
PREFIX = "instant_audience."
"""The prefix of attributes that are not in OpenTelemetry's semantic conventions."""
_NS_PER_SECOND = 1_000_000_000


def _always() -> bool:
    return True


_tracer: "Tracer | None" = None
_draw: Callable[[], bool] = _always
_current: ContextVar["Span | None"] = ContextVar("span", default=None)
_NOTHING = contextlib.nullcontext()


def begin(tracer: "Tracer | None", draw: Callable[[], bool] = _always) -> None:
    """Turn tracing on, or off with None.

    `draw` decides for each call without a `traceparent` whether it may be traced. It comes before the tracer's own
    sampler, which would cost each call as much as everything else.
    """
    global _tracer, _draw
    _tracer, _draw = tracer, draw


def is_on() -> bool:
    """Whether tracing is on."""
    return _tracer is not None


def current() -> "Span | None":
    """The span of the current context, if it is recorded and has not ended."""
    if _tracer is None:
        return None
    span = _current.get()
    return span if span is not None and span.is_recording() else None


def start_call(path: str, request_id: str, trace_parent: str, waited_seconds: float) -> "Span | None":
    """Start the span of a call that came in `waited_seconds` ago; None if it is not recorded.

    The caller decides about that by `trace_parent` (the `traceparent` of W3C Trace Context); without one, the sampler.
    """
    if _tracer is None or not (trace_parent or _draw()):
        return None
    from opentelemetry.trace import SpanKind, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": trace_parent})
    if trace_parent and not get_current_span(context).get_span_context().is_valid and not _draw():
        return None
    method = path.removeprefix("/")
    span = _tracer.start_span(
        method,
        context,
        SpanKind.SERVER,
        {"rpc.system.name": "grpc", "rpc.method": method, f"{PREFIX}request_id": request_id},
        start_time=time.time_ns() - round(waited_seconds * _NS_PER_SECOND),
    )
    return span if span.is_recording() else None  # type: ignore[return-value]  # those of the SDK are Spans


def waited(span: "Span | None") -> None:
    """Add a span for the time that a call has waited for its turn, which has come now."""
    if span is not None:
        _start("wait", span, start_time=span.start_time).end()


def end_call(span: "Span | None", code: int) -> None:
    """End the span of a call with this gRPC status code."""
    if span is None:
        return
    span.set_attribute("rpc.response.status_code", code_pb2.Code.Name(code))
    if outcome_of(code) == "failed":
        _fail(span)
    span.end()
    if code != code_pb2.CANCELLED and span.start_time is not None and span.end_time is not None:
        seconds = (span.end_time - span.start_time) / _NS_PER_SECOND
        EXEMPLARS.note(span.name, code, seconds, f"{span.get_span_context().trace_id:032x}")


def within(span: "Span | None") -> contextlib.AbstractContextManager[None]:
    """Make this span the current one inside the `with` statement."""
    return _NOTHING if span is None else _within(span)


def step(name: str) -> contextlib.AbstractContextManager[None]:
    """Run the `with` statement in a child of the current span, if there is one."""
    parent = current()
    return _NOTHING if parent is None else _step(_start(name, parent))


def together(name: str, spans: Sequence["Span | None"]) -> contextlib.AbstractContextManager[None]:
    """Run the `with` statement in a span for several calls: a child of the first recorded one, with links to all.

    None stands for a call that is not recorded.
    """
    if _tracer is None:
        return _NOTHING
    recorded = [span for span in spans if span is not None and span.is_recording()]
    if not recorded:
        return _within(None)
    from opentelemetry.trace import Link

    links = [Link(span.get_span_context()) for span in recorded]
    return _step(_start(name, recorded[0], links=links, attributes={f"{PREFIX}calls": len(spans)}))


def watch(
    name: str, done: "asyncio.Future[None]", attributes: Callable[[], Attributes], failed: Callable[[], bool]
) -> None:
    """Start a child of the current span, if there is one, that ends when `done` is; `failed` is called then."""
    parent = current()
    if parent is None:
        return
    span = _start(name, parent, attributes=attributes(), is_client=True)

    def end(_: "asyncio.Future[None]") -> None:
        if done.cancelled() or failed():
            _fail(span)
        span.end()

    done.add_done_callback(end)


def _start(
    name: str,
    parent: "Span",
    *,
    links: "Sequence[Link]" = (),
    attributes: Attributes | None = None,
    start_time: int | None = None,
    is_client: bool = False,
) -> "Span":
    from opentelemetry.trace import SpanKind, set_span_in_context

    assert _tracer is not None
    kind = SpanKind.CLIENT if is_client else SpanKind.INTERNAL
    return _tracer.start_span(  # type: ignore[return-value]  # those of the SDK are Spans
        name, set_span_in_context(parent), kind, attributes, links, start_time
    )


def _fail(span: "Span") -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)


@contextlib.contextmanager
def _within(span: "Span | None") -> Iterator[None]:
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def _step(span: "Span") -> Iterator[None]:
    token = _current.set(span)
    try:
        yield
    except BaseException:
        _fail(span)
        raise
    finally:
        _current.reset(token)
        span.end()
