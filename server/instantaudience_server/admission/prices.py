"""What calls take of the places there are, by what they cost (docs/adr/0031-turns-by-cost.md has the reasons)."""

from collections.abc import Sequence

PARTS = 4
"""Of a place. A small call that is carried out together with others of its member takes one of them: what most of its
time goes into, such calls share."""
SMALL_BYTES = 1024
"""The message of a small call, at most: as much as a call costs beside it."""
PLACE_BYTES, MOST_PLACES = 4_608, 32
"""A call takes a further place for each so many bytes of its message, up to so many places: what a large one writes,
others wait for at the nodes."""
FIRST_TAKES = 3
"""How many places a member's first call takes where a host has calls wait itself. Calls of one member are carried out
together (docs/adr/0020-gathering.md) and those of many are not, so fewer of these keep a worker as busy."""
TURN_PLACES = 6
"""How many places a member's calls take in a row, before the next member's: where many members call, each has a few
calls carried out together."""
KEPT_PLACES = 8
"""So many places are for members none of whose calls runs: where a host has calls wait itself, of those that there are,
else beyond them."""


def first_takes_more() -> int:
    """What a member's first call takes beyond its own, in parts of places."""
    return (FIRST_TAKES - 1) * PARTS


def kept_room() -> int:
    """What is kept for members none of whose calls runs, in parts of places."""
    return KEPT_PLACES * PARTS


def turn_room() -> int:
    """What a member's calls take in a row, in parts of places."""
    return TURN_PLACES * PARTS


def parts_of(size_bytes: int) -> int:
    """What a call takes that is carried out together with others, by the size of its message."""
    return 1 if size_bytes <= SMALL_BYTES else PARTS * min(MOST_PLACES, 1 + size_bytes // PLACE_BYTES)


def parts_of_all(sizes: Sequence[int]) -> int:
    """What such calls take, most of which are small."""
    return len(sizes) if max(sizes) <= SMALL_BYTES else sum(map(parts_of, sizes))
