"""What starts of the service's processes and of commands do not import."""

import gc
import subprocess
import sys
from importlib import import_module

import pytest
from instantaudience_server.process.lean_imports import UNUSED_BY_PROCESSES, lean_imports

pytestmark = pytest.mark.process

METRICS, TERMINALS = "opentelemetry.sdk.metrics.export", "rich.console"
"""Modules that the packages which nobody uses would import first."""
CALLS = ("cryptography.x509", "grpc", "jwt")
"""What only processes that take calls, or have TLS, use."""


def test_what_is_not_used_is_not_imported(subtests: pytest.Subtests) -> None:
    """Those that would go on end here, without a configuration or a directory."""
    for words, unused in [
        ("instantaudience_server.running worker", (METRICS, TERMINALS)),
        ("instantaudience_server.running batch_worker", (METRICS, TERMINALS, *CALLS)),
        ("instantaudience_server.running metrics_server", (METRICS, TERMINALS, *CALLS, "redis")),
        ("instantaudience_server serve --data-dir /dev/null/data", (METRICS, TERMINALS, *CALLS, "valkey")),
        ("instantaudience_server serve --help", (METRICS, TERMINALS, *CALLS, "redis")),
        ("instantaudience_server get --help", (METRICS, TERMINALS, "structlog", "redis")),
        ("instantaudience_server backup --help", (METRICS,)),
    ]:
        with subtests.test(words=words, unused=unused):
            command = [sys.executable, "-X", "importtime", "-m", *words.split()]
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            imported = {
                line.split("|")[-1].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")
            }
            assert len(imported) > 100
            assert not imported.intersection(unused)


def test_it_can_be_imported_before_and_after(subtests: pytest.Subtests) -> None:
    for name in UNUSED_BY_PROCESSES:
        with subtests.test(name=name):
            before = import_module(name)
            with lean_imports((name,)):
                with pytest.raises(ImportError):
                    import_module(name)
                assert not gc.isenabled()
            assert import_module(name) is before
            assert gc.isenabled()
