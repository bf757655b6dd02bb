"""What a host needs that takes JSON itself: the JSON form of its methods. The gateway in front knows it, and says it as
data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Row = tuple[str, int, bool, str]
"""A field: its key, its number, whether it is a list, and what it holds: a scalar type or the name of a message."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of the message `root` and of all messages in it, by the messages' names, as far as JSON has them."""

    messages: Mapping[str, Sequence[Row]]
    root: str


@dataclass(frozen=True, slots=True)
class JsonForm:
    """How the messages of the method at `path` look in JSON.

    A body has at most `depth` levels. `rules` says what a value of a scalar type must be, and `unreadable` what there
    is to say of a body whose strings or numbers cannot be read.
    """

    path: str
    request: Shape
    answer: Shape
    depth: int
    rules: Mapping[str, str]
    unreadable: str
