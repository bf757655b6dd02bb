"""For all suites."""

import gc
import os
import re
import signal
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from instantaudience_server.process.garbage import spare_all
from support.cluster.servers import PRODUCTS
from support.service.running import HOST_MODES
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Read when grpc is imported. Its handlers would abort a child that is forked while calls are under way here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


settings.register_profile(
    "suite", derandomize=True, database=None, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck)
)
settings.register_profile("large", settings.get_profile("suite"), max_examples=100)
settings.load_profile("suite")
"""The same code is tried with the same examples each time: few, and many in `make test-all`.
`pytest --hypothesis-profile=default` looks for others."""

SAME_ELSEWHERE: Mapping[str, str] = (
    dict.fromkeys(HOST_MODES, HOST_MODES[0])
    | dict.fromkeys(PRODUCTS, PRODUCTS[0])
    | {"gateway": "gateway", "direct": "gateway"}
)
"""Hosts, server products and ports that a test may run on, and the one of each kind that `make test` runs it on."""

PROCESS_FIXTURES = frozenset({"conforming", "embedded", "host_mode", "passwords", "product", "replicated", "service"})
"""Fixtures that start processes, or stand for those that do. Other tests that do are marked `process`."""

collect_ignore = ["legacy"]
"""These have an environment of their own (`make test-clients`)."""

_STARTED = re.compile(r"::.*[\[-](native|grpcio|valkey|redis)\b")


class StartedOnceScheduling(LoadScopeScheduling):
    """Has one process run the tests of one file, on one host or one product: they share what the file starts.

    The parts keep pytest's order (`--no-loadscope-reorder`), in which all that runs on one host comes before the next:
    so each process starts what is there for the whole session once for each host.
    """

    def _split_scope(self, nodeid: str) -> str:
        started = _STARTED.search(nodeid)
        return nodeid.partition("::")[0] + (f" on {started[1]}" if started else "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs again on another host, product or port (`wide`), and what starts processes (`process`)."""
    functions = [item for item in items if isinstance(item, pytest.Function)]
    cases = {(_function(item), _values(item)) for item in functions}
    for item in functions:
        values = _values(item)
        usual = tuple((name, SAME_ELSEWHERE.get(value, value)) for name, value in values)
        if usual != values and (_function(item), usual) in cases and not item.get_closest_marker("conformance"):
            item.add_marker("wide")
        if PROCESS_FIXTURES & set(item.fixturenames):
            item.add_marker("process")


def _function(item: pytest.Function) -> str:
    return item.nodeid.partition("[")[0]


def _values(item: pytest.Function) -> tuple[tuple[str, str], ...]:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return tuple(sorted((name, str(value)) for name, value in parameters.items()))


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


def pytest_collection_finish(session: pytest.Session) -> None:
    """Hold `make quick` to what it promises, in the processes that run tests."""
    if session.config.option.markexpr == "not process":
        sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, arguments: Iterable[object]) -> None:
    if event == "subprocess.Popen":
        pytest.fail(f"starts a process, and is not marked `process`: {arguments}")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> StartedOnceScheduling:
    """How tests are shared out among processes."""
    return StartedOnceScheduling(config, log)
