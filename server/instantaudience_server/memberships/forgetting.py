"""Takes users out of segments, and sees to it that suppressed ones stay out (docs/adr/0028-suppression.md)."""

import asyncio
import contextlib
from collections.abc import Sequence

from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.errors import STORE_FAILURES
from instantaudience_server.store.interfaces.memberships import REMOVE, Alike, MembershipStore
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS, Due, SuppressionStore

AGAIN_MS = (1_500, 240_000)
"""When a suppressed user is removed once more: soon after all workers know, and when no write can be under way any more
that was let through before. A call lives for a minute at most, a write of a file's for three."""
PAUSE_SECONDS = 0.5
"""The pause between two looks at who is due."""
ANSWER_SECONDS = 2.0
"""How long the cluster has for each answer."""


class Forgetting:
    """Reads and removes what users are in, as far as it is a member's own. Users are given by their keys, a member may
    be `ALL_MEMBERS`; deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, catalog: Catalog, store: MembershipStore, suppressions: SuppressionStore) -> None:
        self._catalog = catalog
        self._store = store
        self._suppressions = suppressions

    async def segments(self, user_keys: Sequence[bytes], member_id: int, deadline: float) -> list[list[int]]:
        """The IDs of a member's segments that each user is in, ascending.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        found = await self._store.read(user_keys, deadline)
        return [sorted(each for each in memberships if self._is_of(each, member_id)) for memberships in found]

    async def remove(self, user_keys: Sequence[bytes], member_id: int, deadline: float) -> list[list[int]]:
        """Take users out of a member's segments; tells which these were.

        Raises:
            AudienceError: UNAVAILABLE; some may have been removed.
        """
        found = await self.segments(user_keys, member_id, deadline)
        changes = [
            Alike([key], {REMOVE: dict.fromkeys(segment_ids, 0)})
            for key, segment_ids in zip(user_keys, found, strict=True)
            if segment_ids
        ]
        if changes:
            writing = self._store.write(changes, deadline)
            await writing.done
            for failure in writing.failures().values():
                raise failure
        return found

    async def sweep(self) -> None:
        """Remove once more who is due, forever. All workers do; a removal that two make does no harm."""
        while True:
            with contextlib.suppress(*STORE_FAILURES):
                await self._remove_due()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _remove_due(self) -> None:
        """Remove all who are due now. Whoever cannot be removed stays due, and keeps nobody behind from it."""
        loop = asyncio.get_running_loop()
        left = 0
        while due := await self._suppressions.due(loop.time() + ANSWER_SECONDS, left):
            removed = await asyncio.gather(*[self._remove_again(each) for each in due])
            left += removed.count(False)

    async def _remove_again(self, due: Due) -> bool:
        """Whether the cluster has done it."""
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            (segment_ids,) = await self.segments([due.user_key], due.member_id, deadline)
            await self._suppressions.remove(due, segment_ids, deadline)
        except STORE_FAILURES:
            return False
        return True

    def _is_of(self, segment_id: int, member_id: int) -> bool:
        if member_id == ALL_MEMBERS:
            return True
        segment = self._catalog.segment(segment_id)
        return segment is not None and segment.member_id == member_id
