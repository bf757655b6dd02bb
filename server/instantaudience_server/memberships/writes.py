"""Writes under way that later ones to the same users wait for."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from instantaudience_server.memberships.reading.by_blocks import KeySet

Write = asyncio.Task[None]


class Writes:
    """Writes, and the users that each has still to change, by their keys."""

    def __init__(self) -> None:
        self._left: dict[Write, KeySet] = {}
        self._in_order: set[Write] = set()
        """Writes that only writes that are to be in order wait for."""
        self._by_user: defaultdict[bytes, set[Write]] = defaultdict(set)
        """Writes that every later write to their users waits for, by user. There may be thousands while a node stands
        still, of few users each."""

    def add(self, write: Write, keys: KeySet, *, not_passed: bool) -> None:
        """A write is under way from now on, until it is done; nothing overtakes one that is `not_passed`, others only
        what need not be in order."""
        self._left[write] = keys
        write.add_done_callback(self._left.__delitem__)
        if not not_passed:
            self._in_order.add(write)
            write.add_done_callback(self._in_order.remove)
            return
        users = list(keys)
        for key in users:
            self._by_user[key].add(write)
        write.add_done_callback(lambda _: self._forget(write, users))

    def leave(self, write: Write | None, keys: KeySet) -> None:
        """A write has only these users still to change; nothing happens where it is none of these."""
        if write in self._left:
            self._left[write] = keys

    def before(self, keys: KeySet, *, in_order: bool) -> Sequence[Write]:
        """What has to be written before these users are, be that `in_order` or not."""
        found = self.busy_with(keys, self._in_order) if in_order else []
        if self._by_user:
            own = {write for key in keys if key in self._by_user for write in self._by_user[key]}
            found += self.busy_with(keys, own)
        return found

    def busy_with(self, keys: KeySet, writes: Iterable[Write]) -> list[Write]:
        """Those of the writes that have still to change some of these users."""
        return [write for write in writes if not keys.isdisjoint(self._left.get(write, ()))]

    def _forget(self, write: Write, users: Sequence[bytes]) -> None:
        for key in users:
            of_user = self._by_user[key]
            of_user.remove(write)
            if not of_user:
                del self._by_user[key]
