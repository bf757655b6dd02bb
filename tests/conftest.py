"""For all suites."""

import os
import signal

import pytest
from hypothesis import settings
from support.scheduling import StartedOnceScheduling
from xdist.remote import Producer

# Read when grpc is imported. Its handlers would abort a child that is forked while calls are under way here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


settings.register_profile("suite", derandomize=True, database=None, deadline=None)
settings.load_profile("suite")
"""The same code is tried with the same examples each time. `pytest --hypothesis-profile=default` looks for others."""

collect_ignore = ["legacy"]
"""These have an environment of their own (`make test-clients`)."""


def pytest_configure() -> None:
    """Let SIGTERM do what Ctrl-C does: fixtures end what they have started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> StartedOnceScheduling:
    """How tests are shared out among processes."""
    return StartedOnceScheduling(config, log)
