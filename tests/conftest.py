"""For all suites."""

import signal


def pytest_configure() -> None:
    """Let SIGTERM do what Ctrl-C does: fixtures end what they have started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
