"""Where traces go: to an OpenTelemetry collector, over HTTP, in a thread of its own (docs/adr/0025-traces.md).

Nothing of OpenTelemetry is imported where nobody asks for traces.
"""

import logging
import os
import random
from collections.abc import Callable

import structlog

from instantaudience_server import tracing
from instantaudience_server.settings import Settings
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
"""What OpenTelemetry's own environment says counts where our settings say nothing
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)."""
PATH = "/v1/traces"
SERVICE_NAME = "instant-audience"
SEND_SECONDS = 2.0
"""How long the collector may take; the end of a worker waits for it."""


def begin_traces(settings: Settings, worker: int) -> Callable[[], None] | None:
    """Begin to send traces; returns what ends that, and sends what is left. None: nobody wants them."""
    if settings.traces_endpoint is None and not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

    logging.getLogger("opentelemetry").addHandler(_Troubles())
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE_NAME}
    endpoint = settings.traces_endpoint
    sampler_is_theirs = bool(os.environ.get(SAMPLER_VARIABLE))
    provider = TracerProvider(
        None if sampler_is_theirs else ParentBased(ALWAYS_ON),
        Resource.create({**named, "instant_audience.worker": worker}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(None if endpoint is None else endpoint.rstrip("/") + PATH, timeout=SEND_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    ratio = 1.0 if sampler_is_theirs else settings.traces_ratio
    tracing.begin(provider.get_tracer(SERVICE_NAME), lambda: random.random() < ratio)  # noqa: S311 - no secret

    def end() -> None:
        tracing.begin(None)
        provider.shutdown()

    return end


class _Troubles(logging.Handler):
    """Says in our log that spans are lost; what the library says of it may hold anything."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        log.warning(Event.TRACES_NOT_SENT, logger=record.name)
