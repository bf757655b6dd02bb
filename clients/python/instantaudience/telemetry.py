"""OpenTelemetry: a span for each call and each of its attempts, and a histogram of the attempts' duration.

Sources: the semantic conventions for RPC, https://opentelemetry.io/docs/specs/semconv/rpc/; W3C Trace Context.
"""

from collections.abc import Generator
from contextlib import contextmanager

from instantaudience.errors import AudienceError
from instantaudience.extras import needed
from instantaudience.watching import Attempt, FollowedAttempt, Metadata

with needed("telemetry"):
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

_NAME = "instantaudience"


class OpenTelemetry:
    """Traces a client's calls; pass it as the client's `telemetry`.

    A call, with its sign-in, pauses and attempts, has a span. Each attempt, and each stream, has a child span, whose
    context is sent, so that the service's spans join the trace. The histogram
    `instantaudience.client.attempt.duration`, in seconds, has attempts by method, code and reason.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        """Without providers, the global ones are used, which do nothing until the program sets them."""
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        self._seconds = metrics.get_meter(_NAME, meter_provider=meter_provider).create_histogram(
            "instantaudience.client.attempt.duration", unit="s", description="How long attempts of calls take."
        )

    @contextmanager
    def call(self, method: str) -> Generator[None]:
        """The span of a call."""
        with self._tracer.start_as_current_span(
            f"call {_name(method)}", record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except AudienceError as error:
                _fail(span, error.reason or error.code.name, error.message)
                raise

    def attempt(self, method: str, number: int, request_id: str) -> FollowedAttempt:
        """Start the span of an attempt."""
        attributes: dict[str, str | int] = {
            "rpc.system.name": "grpc",
            "rpc.method": _name(method),
            "instantaudience.request_id": request_id,
            "instantaudience.attempt": number,
        }
        span = self._tracer.start_span(_name(method), kind=SpanKind.CLIENT, attributes=attributes)
        return _Attempt(span, self._seconds)


class _Attempt:
    def __init__(self, span: Span, seconds: metrics.Histogram) -> None:
        self._span = span
        self._seconds = seconds

    @property
    def metadata(self) -> Metadata:
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._span))
        return tuple(carrier.items())

    def end(self, attempt: Attempt, message: str) -> None:
        attributes = {"rpc.method": _name(attempt.method), "rpc.response.status_code": attempt.code.name}
        if attempt.reason:
            attributes["error.type"] = attempt.reason
        self._seconds.record(attempt.seconds, attributes)
        self._span.set_attribute("rpc.response.status_code", attempt.code.name)
        if message:
            _fail(self._span, attempt.reason or attempt.code.name, message)
        self._span.end()


def _name(method: str) -> str:
    return method.removeprefix("/")


def _fail(span: Span, kind: str, message: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, message))
