"""The result of a check: how serious it is, and what to do about it."""

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Level(enum.StrEnum):
    """A warning may cause harm some day; a problem does so already, or certainly will."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One result: `topic` is what was checked, `mend` what to do about it, empty if all is well."""

    level: Level
    topic: str
    text: str
    mend: str = ""


def warning(topic: str, text: str, mend: str) -> Finding:
    """A finding at level WARNING."""
    return Finding(Level.WARNING, topic, text, mend)


def problem(topic: str, text: str, mend: str) -> Finding:
    """A finding at level PROBLEM."""
    return Finding(Level.PROBLEM, topic, text, mend)


def worst(findings: Iterable[Finding]) -> Level:
    """The most serious level among the findings; OK if there are none."""
    levels = list(Level)
    return max((each.level for each in findings), key=levels.index, default=Level.OK)
