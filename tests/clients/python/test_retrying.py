"""How long the Python client waits before it sends a call again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience import (
    AudienceError,
    InternalError,
    InvalidRequestError,
    RateLimitedError,
    Retries,
    UnavailableError,
)

FIRST, MOST = 0.1, 5.0


@given(st.integers(0, 2000), st.none() | st.floats(0.0, 100.0), st.sampled_from([UnavailableError, RateLimitedError]))
def test_pauses_grow_and_begin_where_the_service_asks(
    attempt: int, asked: float | None, kind: type[AudienceError]
) -> None:
    """The longest of the random pauses, and the shortest."""
    error = kind("busy", retry_after_seconds=asked)
    longest, shortest = (
        Retries(first_seconds=FIRST, most_seconds=MOST, uniform=chosen).wait_seconds(error, attempt)
        for chosen in (max, min)
    )
    assert shortest == (asked or 0.0)
    assert longest == (asked or 0.0) + min(MOST, FIRST * 2 ** min(attempt, 10))


@pytest.mark.parametrize("kind", [InvalidRequestError, InternalError])
def test_what_does_not_help_is_not_sent_again(kind: type[AudienceError]) -> None:
    assert Retries().wait_seconds(kind("no"), 0) is None


@pytest.mark.parametrize(
    ("times", "rule"),
    [
        ({"first_seconds": -1.0}, "first_seconds is -1.0: a pause is 0 at least"),
        ({"most_seconds": float("nan")}, "most_seconds is nan: a pause is 0 at least"),
        ({"attempt_seconds": 0.0}, "attempt_seconds is 0.0: an attempt takes more than 0"),
    ],
)
def test_no_time_is_below_0_and_an_attempt_takes_some(times: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        Retries(**times)
