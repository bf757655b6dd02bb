"""Removes users from segments, and removes suppressed ones again later (docs/adr/0028-suppression.md)."""

import asyncio
import contextlib
from collections.abc import Sequence

from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.process.steps import in_steps
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.memberships import REMOVE, Alike, MembershipStore
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS, Due, SuppressionStore

AGAIN_MS = (1_500, 240_000)
"""When a suppressed user is removed again, after the suppression: once all workers know of it, and once no write that
was admitted before can still be under way. A call lasts a minute at most, a write for a file three."""
PAUSE_SECONDS = 0.5
"""The pause between two questions for users that are due."""
ANSWER_SECONDS = 2.0
"""How long the cluster has for each answer."""
IDS_AT_ONCE = 1000
"""How many segments are looked up in the catalog before other calls run: about 5 ms."""
NO_SEGMENT = 0
"""No segment's ID. Who is in no segment is removed from this one: an earlier attempt may have removed the user without
being confirmed, and what comes after it is confirmed together with it."""


class Forgetting:
    """Reads and removes users' memberships in the segments that a member owns; with `ALL_MEMBERS`, in all segments.

    Users are given by their keys. Deadlines are times of the event loop's clock, in seconds.
    """

    def __init__(self, feed: CatalogFeed, store: MembershipStore, suppressions: SuppressionStore) -> None:
        self._feed = feed
        self._catalog = feed.catalog
        self._store = store
        self._suppressions = suppressions

    async def segments(self, user_keys: Sequence[bytes], member_id: int, deadline: float) -> list[list[int]]:
        """For each user, the IDs of the member's segments that it is in, ascending.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        found = await self._store.read(user_keys, deadline)
        return [await self._those_of(member_id, sorted(memberships)) for memberships in found]

    async def remove(
        self, user_keys: Sequence[bytes], member_id: int, deadline: float, durability: Durability | None = None
    ) -> list[list[int]]:
        """Remove users from the member's segments. Returns, for each user, the IDs of those it was in. The removal
        counts once it has the `durability` (None: the service's).

        Raises:
            AudienceError: UNAVAILABLE, after which some may have been removed.
        """
        found = await self.segments(user_keys, member_id, deadline)
        changes = [
            Alike([key], {REMOVE: dict.fromkeys(segment_ids or [NO_SEGMENT], 0)})
            for key, segment_ids in zip(user_keys, found, strict=True)
        ]
        writing = self._store.write(changes, deadline, durability)
        await writing.done
        for failure in writing.failures().values():
            raise failure
        return found

    async def sweep(self) -> None:
        """Remove users again that are due, forever. Every worker does this; a removal made twice does no harm."""
        while True:
            with contextlib.suppress(*STORE_FAILURES):
                await self._remove_due()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _remove_due(self) -> None:
        """Remove all users that are due now. One that cannot be removed stays due, and does not hold up the others."""
        loop = asyncio.get_running_loop()
        left = 0
        while due := await self._suppressions.due(loop.time() + ANSWER_SECONDS, left):
            removed = await asyncio.gather(*[self._remove_again(each) for each in due])
            left += removed.count(False)

    async def _remove_again(self, due: Due) -> bool:
        """Remove one user that is due; returns whether that succeeded."""
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            if due.member_id != ALL_MEMBERS:
                # An add that was under way may be to a segment that another worker had just created.
                await self._feed.catch_up(deadline)
            (segment_ids,) = await self.segments([due.user_key], due.member_id, deadline)
            await self._suppressions.remove(due, segment_ids or [NO_SEGMENT], deadline)
        except STORE_FAILURES:
            return False
        return True

    async def _those_of(self, member_id: int, segment_ids: list[int]) -> list[int]:
        """Those of the segments that the member owns; other calls run in between."""
        if member_id == ALL_MEMBERS:
            return segment_ids
        own: list[int] = []
        async for part in in_steps(segment_ids, IDS_AT_ONCE):
            own += [each for each in part if self._is_of(each, member_id)]
        return own

    def _is_of(self, segment_id: int, member_id: int) -> bool:
        segment = self._catalog.segment(segment_id)
        return segment is not None and segment.member_id == member_id
