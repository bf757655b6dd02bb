"""What ends a command: Ctrl-C, and signals that count as Ctrl-C."""

import math
import signal
import time
from collections.abc import Callable

TOGETHER_SECONDS = 1.0
"""Signals that come within this time are one: a terminal sends Ctrl-C to a command, and so may the program that has
started it."""


def ending_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP, by which a closed terminal ends its commands, unless it is ignored as by `nohup`."""
    is_kept = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM] if is_kept else [signal.SIGTERM, signal.SIGHUP]


def end_as_by_ctrl_c(now: Callable[[], float] = time.monotonic) -> None:
    """Have these signals raise KeyboardInterrupt. They would end the command at once, with nothing told; so would those
    that come while it tells."""
    ended = -math.inf

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        if now() - ended >= TOGETHER_SECONDS:
            ended = now()
            raise KeyboardInterrupt

    is_kept = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # in the background of a script
    for number in ending_signals() if is_kept else [signal.SIGINT, *ending_signals()]:
        signal.signal(number, end)
