"""Sends traces to an OpenTelemetry collector over HTTP, in a thread of its own (docs/adr/0025-traces.md).

OpenTelemetry is imported only if traces are configured.
"""

import logging
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from instantaudience_server.observation import tracing
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

log = structlog.get_logger()

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
"""OpenTelemetry's environment variables, which apply where the service's settings say nothing
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)."""
PATH = "/v1/traces"
SERVICE_NAME = "instant-audience"
SEND_SECONDS = 2.0
"""How long the collector may take to answer; the end of a worker waits for it."""


def are_wanted(settings: Settings) -> bool:
    """Whether the settings or the environment name a collector."""
    return settings.traces_endpoint is not None or any(os.environ.get(name) for name in ENDPOINT_VARIABLES)


def begin_traces(settings: Settings, worker: int) -> Callable[[], None] | None:
    """Begin to send traces. Returns the function that sends what is left and ends it; None: no collector is named."""
    if not are_wanted(settings):
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

    logging.getLogger("opentelemetry").addHandler(_Troubles())
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE_NAME}
    sampler_is_theirs = bool(os.environ.get(SAMPLER_VARIABLE))
    provider = TracerProvider(
        None if sampler_is_theirs else ParentBased(ALWAYS_ON),
        Resource.create({**named, "instant_audience.worker": worker}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(_exporter(settings)))
    ratio = 1.0 if sampler_is_theirs else settings.traces_ratio
    tracing.begin(provider.get_tracer(SERVICE_NAME), lambda: random.random() < ratio)  # noqa: S311 - no secret

    def end() -> None:
        tracing.begin(None)
        provider.shutdown()

    return end


def problem(settings: Settings) -> str | None:
    """Why the collector does not accept traces, tested with an empty export; None: it does. Takes a few seconds if it
    does not answer."""
    told: list[str] = []
    hearing = _Hearing(told.append)
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(hearing)
    try:
        is_taken = _exporter(settings).export([]).name == "SUCCESS"
    finally:
        logger.removeHandler(hearing)
    return None if is_taken else " ".join(told[:1]).partition(" encountered while")[0] or "it gives no reason"


def _exporter(settings: Settings) -> "OTLPSpanExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = settings.traces_endpoint
    return OTLPSpanExporter(None if endpoint is None else endpoint.rstrip("/") + PATH, timeout=SEND_SECONDS)


class _Hearing(logging.Handler):
    """Passes the library's log messages on."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(record.getMessage())


class _Troubles(logging.Handler):
    """Logs that spans were lost, without the library's message, which may contain anything."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        log.warning(Event.TRACES_NOT_SENT, logger=record.name)
