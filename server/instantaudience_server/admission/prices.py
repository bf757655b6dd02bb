"""How many places calls take, according to their cost (docs/adr/0031-turns-by-cost.md has the reasons)."""

from collections.abc import Sequence

PARTS = 4
"""The parts of a place. A small call that is carried out together with others of its member takes one part, as such
calls share most of their cost."""
SMALL_BYTES = 1024
"""The largest message of a small call: about what the fixed cost of a call corresponds to."""
PLACE_BYTES, MOST_PLACES = 4_608, 32
"""A call takes a further place for each `PLACE_BYTES` of its message, up to `MOST_PLACES`: other calls wait at the
nodes for what a large one writes."""
FIRST_TAKES = 3
"""How many places a member's first call takes if the host has calls wait itself. Calls of one member are carried out
together (docs/adr/0020-gathering.md), those of different members are not, so fewer of them keep a worker as busy."""
TURN_PLACES = 6
"""How many places a member's calls take in one turn, before the next member's: so also where many members call, a few
calls of each are carried out together."""
KEPT_PLACES = 8
"""How many places are kept for members without running calls. If the host has calls wait itself, they are part of
`most_running`, otherwise in addition to it."""


def first_takes_more() -> int:
    """What a member's first call takes in addition, in parts of places."""
    return (FIRST_TAKES - 1) * PARTS


def kept_room() -> int:
    """What is kept for members without running calls, in parts of places."""
    return KEPT_PLACES * PARTS


def turn_room() -> int:
    """What a member's calls take in one turn, in parts of places."""
    return TURN_PLACES * PARTS


def parts_of(size_bytes: int) -> int:
    """What a call that is carried out together with others takes, in parts of places, by the size of its message."""
    return 1 if size_bytes <= SMALL_BYTES else PARTS * min(MOST_PLACES, 1 + size_bytes // PLACE_BYTES)


def parts_of_all(sizes: Sequence[int]) -> int:
    """The sum of `parts_of` for several calls; `sizes` must not be empty."""
    return len(sizes) if max(sizes) <= SMALL_BYTES else sum(map(parts_of, sizes))
