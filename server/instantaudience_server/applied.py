"""What calls applied, as far as others count it: usage reports and segment sizes know no more of a request."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.store.interfaces.memberships import Changes


class Refusal(NamedTuple):
    """A block that the catalog did not let through, or a user that an external ID does not lead to, and why."""

    code: pb.WarningCode
    part: "pb.SegBlock | pb.RtSegment"


class Totals(NamedTuple):
    """Valid users, and memberships to be added and removed; each counts once, however often a call sent it."""

    users: int
    adds: int
    removes: int


NOTHING_SKIPPED: Mapping[pb.WarningCode, int] = MappingProxyType({})


class Applied(NamedTuple):
    """What a request was found to change at `now_ms` (Unix time in ms), from which the ends of its memberships count.

    `unchanged` are the keys of valid users of whom nothing is to change. It may be several `calls` that were read as
    one: then `totals` counts for each, and `changes` has the users of all. `skipped` is how many users and blocks were
    skipped for each reason, `refusals` aside. `apart` has the calls each by itself, the newest first, where it may be
    several.
    """

    now_ms: int
    changes: Changes
    unchanged: Collection[bytes]
    refusals: Sequence[Refusal]
    totals: Totals
    calls: int = 1
    skipped: Mapping[pb.WarningCode, int] = NOTHING_SKIPPED
    apart: Callable[[], Iterable["Applied"]] | None = None
