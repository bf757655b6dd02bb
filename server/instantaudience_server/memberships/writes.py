"""Keeps track of the writes under way that later writes to the same users have to wait for."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from instantaudience_server.memberships.reading.by_blocks import KeySet

Write = asyncio.Task[None]


class Writes:
    """The writes under way, and the keys of the users that each has still to change."""

    def __init__(self) -> None:
        self._left: dict[Write, KeySet] = {}
        self._in_order: set[Write] = set()
        """The writes that only writes in order wait for."""
        self._by_user: defaultdict[bytes, set[Write]] = defaultdict(set)
        """The writes that every later write to their users waits for, by user: while a node stands still there may be
        thousands, with few users each."""

    def add(self, write: Write, keys: KeySet, *, not_passed: bool) -> None:
        """Keep track of a write until it is done. If `not_passed`, all later writes to its users wait for it; otherwise
        only those in order do."""
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
        """Note that a write has only these users left to change. A write that was not added is ignored."""
        if write in self._left:
            self._left[write] = keys

    def before(self, keys: KeySet, *, in_order: bool) -> Sequence[Write]:
        """The writes that a new write to these users has to wait for; `in_order` says which kind the new one is."""
        found = self.busy_with(keys, self._in_order) if in_order else []
        if self._by_user:
            own = {write for key in keys if key in self._by_user for write in self._by_user[key]}
            found += self.busy_with(keys, own)
        return found

    def busy_with(self, keys: KeySet, writes: Iterable[Write]) -> list[Write]:
        """The writes among `writes` that have still to change some of these users."""
        return [write for write in writes if not keys.isdisjoint(self._left.get(write, ()))]

    def _forget(self, write: Write, users: Sequence[bytes]) -> None:
        for key in users:
            of_user = self._by_user[key]
            of_user.remove(write)
            if not of_user:
                del self._by_user[key]
