"""For all suites."""

import gc
import os
import re
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings
from instantaudience_server.garbage import spare_all
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Read when grpc is imported. Its handlers would abort a child that is forked while calls are under way here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


settings.register_profile("suite", derandomize=True, database=None, deadline=None)
settings.load_profile("suite")
"""The same code is tried with the same examples each time. `pytest --hypothesis-profile=default` looks for others."""

collect_ignore = ["legacy"]
"""These have an environment of their own (`make test-clients`)."""

_STARTED = re.compile(r"::.*[\[-](native|envoy|grpcio|valkey|redis)\b")


class StartedOnceScheduling(LoadScopeScheduling):
    """Has one process run the tests of one file, on one host or one product: they share what the file starts.

    The parts keep pytest's order (`--no-loadscope-reorder`), in which all that runs on one host comes before the next:
    so each process starts what is there for the whole session once for each host.
    """

    def _split_scope(self, nodeid: str) -> str:
        started = _STARTED.search(nodeid)
        return nodeid.partition("::")[0] + (f" on {started[1]}" if started else "")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector does not look at the thousands of tests, nor at what they import, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        spare_all()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a test sets of logging ends with it: commands that run in this process have it log nothing, for one."""
    yield
    structlog.reset_defaults()


_TIME = pytest.StashKey[Any]()
"""The settings of a test's time."""


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Note what `pytest_timeout` sets."""
    item.stash[_TIME] = settings


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """What a test needs is started, and stopped, in a time of its own: on a busy machine, a service took most of what
    its first test had."""
    _begin_time_anew(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Likewise."""
    _begin_time_anew(item)


def _begin_time_anew(item: pytest.Item) -> None:
    if _TIME in item.stash:
        item.ihook.pytest_timeout_cancel_timer(item=item)
        item.ihook.pytest_timeout_set_timer(item=item, settings=item.stash[_TIME])


def pytest_configure() -> None:
    """Let SIGTERM do what Ctrl-C does: fixtures end what they have started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> StartedOnceScheduling:
    """How tests are shared out among processes."""
    return StartedOnceScheduling(config, log)
