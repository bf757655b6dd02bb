"""Where the service is and who calls it: `make test-clients` starts it, and says so in the environment."""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

WAIT_SECONDS = 60.0
"""Long for what has to happen, short for who waits for the end of a test."""


@pytest.fixture(scope="session")
def url() -> str:
    """The service, without a slash at its end."""
    return os.environ["INSTANT_AUDIENCE_URL"]


@pytest.fixture(scope="session")
def password() -> str:
    """Of all accounts."""
    return os.environ["INSTANT_AUDIENCE_LEGACY_PASSWORD"]


@pytest.fixture(scope="session")
def segments() -> int:
    """How many each client's member has."""
    return int(os.environ["INSTANT_AUDIENCE_LEGACY_SEGMENTS"])


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Asks until there is an answer, and none of the given errors: a worker knows what another one has changed within a
    second."""

    def wait(ask: Callable[[], Any], *errors: type[Exception]) -> Any:
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(*errors):
                if answer := ask():
                    return answer
            time.sleep(0.1)
        pytest.fail(f"it did not come within {WAIT_SECONDS:.0f} s")

    return wait


@pytest.fixture(scope="session")
def end_token(url: str) -> Callable[[str], None]:
    """Ends a token, as time would."""

    def end(token: str) -> None:
        requests.delete(f"{url}/auth", headers={"Authorization": token}, timeout=20).raise_for_status()

    return end
