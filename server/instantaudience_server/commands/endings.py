"""What ends a command, besides Ctrl-C."""

import signal


def ending_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP, by which a closed terminal ends its commands, unless it is ignored as by `nohup`."""
    is_kept = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM] if is_kept else [signal.SIGTERM, signal.SIGHUP]


def end_as_by_ctrl_c() -> None:
    """Have these signals raise KeyboardInterrupt. They would end the command at once, with nothing told."""
    for number in ending_signals():
        signal.signal(number, signal.default_int_handler)
