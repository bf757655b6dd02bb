"""Time, as the services see it."""

import re
import time
from datetime import UTC, datetime
from typing import Protocol

MS_PER_MINUTE = 60_000
MS_PER_HOUR = 3_600_000
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
"""How REST writes a moment, in UTC (source: contract)."""


def written_time(seconds: int) -> str:
    """A moment (Unix time in seconds) as REST writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(TIME_FORMAT)


DAY = r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
"""The form of days, as a regular expression that does not check the number of days of a month."""
MOMENT = DAY + r"[ +](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
"""The form of moments, likewise."""
_is_moment = re.compile(MOMENT).fullmatch


def read_time(text: str) -> int:
    """Parse a moment (UTC) in the contract's form, `2014-05-22+00:00:00`, as Unix time in seconds.

    In the query of a URL, `+` is a space; elsewhere, both are accepted.

    Raises:
        ValueError: it has another form, or there is no such day.
    """
    if not _is_moment(text):
        raise ValueError
    return int(datetime.strptime(text.replace("+", " "), TIME_FORMAT).replace(tzinfo=UTC).timestamp())


class Clock(Protocol):
    """Where services get the time from; tests pass their own."""

    def now_ms(self) -> int:
        """Unix time in ms."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Unix time in ms."""
        return time.time_ns() // 1_000_000
