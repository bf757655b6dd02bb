"""The limits of a service with default settings."""

from pathlib import Path
from typing import Any

from instantaudience_server.admission.admission import Admission
from instantaudience_server.settings import BODY_LIMIT_BYTES, MOST_HEADER_BYTES, Settings

_SETTINGS = Settings()
CALL_LIMITS = {"most_running": _SETTINGS.max_running_calls, "most_waiting": _SETTINGS.max_waiting_calls}
"""Limits of `Admission`."""
CONNECTION_LIMITS: dict[str, Any] = {
    each: getattr(_SETTINGS, each) for each in ("max_connections", "max_connections_of_address", "max_streams")
} | {"max_header_bytes": MOST_HEADER_BYTES}
"""Limits of `NativeHost`."""
GATEWAY_LIMITS: dict[str, Any] = {
    each: getattr(_SETTINGS, each)
    for each in ("max_connections", "max_streams", "max_active_calls", "max_header_bytes")
} | {
    "body_limit_bytes": BODY_LIMIT_BYTES,
    "upload_marks": Path("upload-marks"),
    "upload_seconds": _SETTINGS.batch_upload_seconds,
    "call_timeout_seconds": 2 * _SETTINGS.call_timeout_seconds,
}
"""Limits of the gateway, with a longer timeout for tests' upstreams."""


def usual_admission() -> Admission:
    """An admission control with the shortest retry delay."""
    return Admission(lambda low, _: low, **CALL_LIMITS)
