"""Pipelines of calls, with limits that few tests reach."""

from instantaudience_server.admission.admission import Admission
from instantaudience_server.sign_in.tokens import TokenService
from instantaudience_server.transport.calls.outcomes import Outcomes
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.usage.counting import Usage

from support.parts.limits import usual_admission


def pipeline_of(
    tokens: TokenService,
    usage: Usage,
    admission: Admission | None = None,
    *,
    call_timeout_seconds: float = 5.0,
    body_limit_bytes: int = 10_000,
    stream_window: int = 4,
    most_backlogs: int = 64,
) -> Pipeline:
    """A pipeline; without an `admission`, the usual one is used."""
    return Pipeline(
        tokens,
        admission or usual_admission(),
        Outcomes(usage),
        call_timeout_seconds=call_timeout_seconds,
        body_limit_bytes=body_limit_bytes,
        stream_window=stream_window,
        most_backlogs=most_backlogs,
    )
