"""What ends a command."""

import signal
from collections.abc import Iterator

import pytest
from instantaudience_server.commands.endings import TOGETHER_SECONDS, end_as_by_ctrl_c

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", ENDING)
@pytest.mark.parametrize("second", ENDING)
def test_what_comes_together_ends_a_command_once(first: signal.Signals, second: signal.Signals) -> None:
    """It has not told yet how far it has come when the second one comes. A later one ends it again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored: the tests, too, run in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    now = 5.0
    end_as_by_ctrl_c(lambda: now)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(first)
    now += TOGETHER_SECONDS / 2
    signal.raise_signal(second)
    now += TOGETHER_SECONDS
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(second)


def test_what_is_ignored_ends_nothing(subtests: pytest.Subtests) -> None:
    for number in [signal.SIGINT, signal.SIGHUP]:
        with subtests.test(number=number):
            signal.signal(number, signal.SIG_IGN)
            end_as_by_ctrl_c()
            signal.raise_signal(number)
