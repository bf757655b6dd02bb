"""The limits of a service that is set as settings are by default."""

from pathlib import Path
from typing import Any

from instantaudience_server.admission.admission import Admission
from instantaudience_server.settings import BODY_LIMIT_BYTES, MOST_HEADER_BYTES, Settings

_SETTINGS = Settings()
CALL_LIMITS = {"most_running": _SETTINGS.max_running_calls, "most_waiting": _SETTINGS.max_waiting_calls}
"""Of `Admission`."""
CONNECTION_LIMITS: dict[str, Any] = {
    each: getattr(_SETTINGS, each) for each in ("max_connections", "max_connections_of_address", "max_streams")
} | {"max_header_bytes": MOST_HEADER_BYTES}
"""Of `NativeHost`."""
GATEWAY_LIMITS: dict[str, Any] = {
    each: getattr(_SETTINGS, each)
    for each in ("max_connections", "max_streams", "max_active_calls", "max_header_bytes")
} | {
    "body_limit_bytes": BODY_LIMIT_BYTES,
    "upload_marks": Path("upload-marks"),
    "upload_seconds": _SETTINGS.batch_upload_seconds,
    "call_timeout_seconds": 2 * _SETTINGS.call_timeout_seconds,
}
"""Of the gateway; upstreams of tests may take their time."""


def usual_admission() -> Admission:
    """Those who are refused may come again after as short a time as there is."""
    return Admission(lambda low, _: low, **CALL_LIMITS)
