"""What OpenTelemetry is told of the Python client's calls."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import pytest
from instantaudience import AsyncClient, Client, Limits, NotFoundError, OpenTelemetry, Password, Retries, block, user
from instantaudience.testing import FakeService, Fault
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

AUDIENCE = "instantaudience.v1.AudienceService/"
SIGN_IN = "instantaudience.v1.AuthenticationService/Authenticate"
BUSY = Fault(grpc.StatusCode.UNAVAILABLE, "SYSTEM", retry_after_seconds=0.01)
OPTIONS: Mapping[str, Any] = {
    "plaintext": True,
    "limits": Limits(),
    "retries": Retries(first_seconds=0.01, most_seconds=0.05),
}


class Sent(grpc.aio.UnaryUnaryClientInterceptor):
    """The parents that calls name, by method: version, trace and span (W3C Trace Context)."""

    def __init__(self) -> None:
        self.parents: list[tuple[str, str]] = []

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Note it, and go on."""
        self.parents.append((details.method.decode().removeprefix("/"), dict(details.metadata)["traceparent"][:52]))
        return await continuation(details, request)


class Told:
    """OpenTelemetry, and what it was told."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self._metrics])
        self.telemetry = OpenTelemetry(tracer_provider=self.tracers, meter_provider=meters)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """All that have ended."""
        return self._spans.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def attempts(self) -> dict[tuple[str, str], int]:
        """How many took how long, by method and code."""
        data = self._metrics.get_metrics_data()
        assert data is not None
        ((metric,),) = [scope.metrics for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {
            (point.attributes["rpc.method"], point.attributes["rpc.response.status_code"]): point.count
            for point in metric.data.data_points
        }


async def test_a_call_has_a_span_and_its_attempts_and_sign_in_below(service: FakeService) -> None:
    told, sent = Told(), Sent()
    service.faults.append(BUSY)
    async with AsyncClient(
        service.endpoint, Password("demo", "demo"), telemetry=told.telemetry, interceptors=[sent], **OPTIONS
    ) as client:
        with told.tracers.get_tracer("caller").start_as_current_span("caller"):
            await client.apply([user(1, block(7))])
    names = [f"call {SIGN_IN}", SIGN_IN, f"{AUDIENCE}ApplySegments", f"{AUDIENCE}ApplySegments"]
    caller, call = told.span("caller"), told.span(f"call {AUDIENCE}ApplySegments")
    assert call.parent is not None
    assert call.parent.span_id == caller.context.span_id
    assert sorted(span.name for span in told.spans if span not in (caller, call)) == sorted(names)
    below = [span.name for span in told.spans if span.parent and span.parent.span_id == call.context.span_id]
    assert below == [names[0], names[2], names[2]]
    attempts = [span for span in told.spans if span.name in names[1:]]
    assert sent.parents == [
        (span.name, f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}") for span in attempts
    ]
    failed, fine = (span for span in told.spans if span.name == names[2])
    assert [(failed.attributes or {})[key] for key in ("error.type", "instantaudience.attempt")] == ["SYSTEM", 1]
    assert (failed.status.is_ok, fine.status.is_ok, call.status.is_ok) == (False, True, True)
    assert told.attempts() == {
        (SIGN_IN, "OK"): 1,
        (names[2], "UNAVAILABLE"): 1,
        (names[2], "OK"): 1,
    }


async def test_the_blocking_client_has_its_callers_span_as_parent(service: FakeService) -> None:
    told = Told()

    def work() -> None:
        with (
            Client(service.endpoint, Password("demo", "demo"), telemetry=told.telemetry, **OPTIONS) as client,
            told.tracers.get_tracer("caller").start_as_current_span("caller"),
        ):
            client.apply([user(1, block(7))])

    await asyncio.to_thread(work)
    parent = told.span(f"call {AUDIENCE}ApplySegments").parent
    assert parent is not None
    assert parent.span_id == told.span("caller").context.span_id


async def test_a_call_that_fails_says_why(service: FakeService) -> None:
    told = Told()
    service.faults.append(Fault(grpc.StatusCode.NOT_FOUND, "INVALID"))
    async with AsyncClient(service.endpoint, Password("demo", "demo"), telemetry=told.telemetry, **OPTIONS) as client:
        with pytest.raises(NotFoundError):
            await client.apply([user(1, block(7))])
    call = told.span(f"call {AUDIENCE}ApplySegments")
    assert ((call.attributes or {})["error.type"], call.status.is_ok) == ("INVALID", False)
    assert not call.events


async def test_each_stream_has_a_span_also_one_that_is_left(service: FakeService) -> None:
    told = Told()
    async with AsyncClient(service.endpoint, Password("demo", "demo"), telemetry=told.telemetry, **OPTIONS) as client:
        service.faults.append(BUSY)
        assert [result.error async for result in client.stream([user(1, block(7))])] == [None]
        results = client.stream(user(index, block(9)) for index in range(1, 10**9))
        await anext(results)
        await results.aclose()
    streams = [span for span in told.spans if span.name == f"{AUDIENCE}StreamSegments"]
    codes = [(span.attributes or {})["rpc.response.status_code"] for span in streams]
    assert codes == ["UNAVAILABLE", "OK", "CANCELLED"]
