"""What was applied of a request, in the form in which usage reports and segment sizes count it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.store.interfaces.memberships import Changes


class Refusal(NamedTuple):
    """A block that the catalog refuses, or a user that is suppressed or whose external ID is unknown, and why."""

    code: pb.WarningCode
    part: "pb.SegBlock | pb.RtSegment"


class Totals(NamedTuple):
    """The numbers of valid users and of memberships to be added and removed; each counts once in a call."""

    users: int
    adds: int
    removes: int


NOTHING_SKIPPED: Mapping[pb.WarningCode, int] = MappingProxyType({})


class Applied(NamedTuple):
    """What a request changes. It was read at `now_ms` (Unix time in ms), when its memberships' lifetimes start.

    `unchanged` are the keys of valid users without changes. `skipped` has the numbers of users and blocks that were
    skipped for each reason, without `refusals`.

    It may stand for several `calls` that were read as one: then `totals` is the sum over all, `changes` has the users
    of all, and `apart` yields what each call changes, the newest first.
    """

    now_ms: int
    changes: Changes
    unchanged: Collection[bytes]
    refusals: Sequence[Refusal]
    totals: Totals
    calls: int = 1
    skipped: Mapping[pb.WarningCode, int] = NOTHING_SKIPPED
    apart: Callable[[], Iterable["Applied"]] | None = None
