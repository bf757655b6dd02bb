"""What the service's processes are told."""

import json
from pathlib import Path
from typing import Any

from instantaudience_server.observation.metrics import WorkerMetrics
from instantaudience_server.running.programs import Programs
from instantaudience_server.settings import Settings

GATEWAY: dict[str, Any] = {
    "host": "::1",
    "trusted_hops": 3,
    "allowed_origins": "https://app.example.com",
    "call_timeout_seconds": 4.321,
    "max_connections": 4321,
    "max_streams": 43,
    "max_header_bytes": 9216,
    "max_active_calls": 4321,
    "max_gateway_bytes": 2**28,
    "batch_workers": 3,
    "batch_upload_seconds": 4321.0,
    "access_log": True,
}
"""Settings that the gateway's configuration depends on, and others than they are by default."""


def configured(directory: Path, **settings: Any) -> Any:
    """The configuration of the gateway in front of workers."""
    programs = Programs(Settings(**settings), "native", directory, 8080, 50051, 3, None, WorkerMetrics(None))
    program = programs.gateway()
    written = directory / "envoy.json"
    assert str(written) in program.argv
    return json.loads(written.read_text())


def test_what_is_set_for_the_gateway_reaches_it(tmp_path: Path) -> None:
    """A bound that does not is none."""
    usual = configured(tmp_path)
    assert [each for each in GATEWAY if configured(tmp_path, **{each: GATEWAY[each]}) == usual] == []
