"""What was looked at, how it is, and what to do about it."""

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Level(enum.StrEnum):
    """How bad it is. A warning may cost something some day; a problem does already, or will surely."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """`topic` is what was looked at, `mend` what to do; empty where all is well."""

    level: Level
    topic: str
    text: str
    mend: str = ""


def warning(topic: str, text: str, mend: str) -> Finding:
    """What may cost something."""
    return Finding(Level.WARNING, topic, text, mend)


def problem(topic: str, text: str, mend: str) -> Finding:
    """What does cost something."""
    return Finding(Level.PROBLEM, topic, text, mend)


def worst(findings: Iterable[Finding]) -> Level:
    """The level of them all together."""
    levels = list(Level)
    return max((each.level for each in findings), key=levels.index, default=Level.OK)
