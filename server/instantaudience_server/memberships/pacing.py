"""Paces streams: requests beyond the member's limits wait for the next second, where unary calls are refused.

A request that was refused and sent again would be overtaken by those behind it (docs/adr/0011-quotas.md).
"""

import asyncio
from collections.abc import Iterable, Sequence

from instantaudience_server.admission.quotas import Decision, Decisions, Quotas
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Member
from instantaudience_server.memberships.posts import Batch, Post
from instantaudience_server.memberships.turns import Turn


class Pacing:
    """Counts the posts in order that are under way, by member.

    Streams are read on while their member has fewer under way than it may send in a second. More could not be applied
    sooner, and their deadlines would already be running.
    """

    def __init__(self) -> None:
        self._under_way: dict[int, tuple[int, int]] = {}
        """Calls and users, by member ID."""
        self._changed: dict[int, asyncio.Future[None]] = {}
        """For each member whose streams wait, by ID: done when one of its posts has ended."""

    def begin(self, member_id: int, posts: Sequence[Post]) -> None:
        """Count posts that have begun."""
        calls, users = self._under_way.get(member_id, (0, 0))
        self._under_way[member_id] = calls + len(posts), users + sum([post.user_count for post in posts])

    def end(self, member_id: int, posts: Iterable[Post]) -> None:
        """Count posts that have ended, and wake the member's streams."""
        for post in posts:
            calls, users = self._under_way.pop(member_id)
            if calls > 1:
                self._under_way[member_id] = calls - 1, users - post.user_count
        changed = self._changed.pop(member_id, None)
        if changed is not None:
            changed.set_result(None)

    def has_room(self, caller: Caller) -> bool:
        """Whether a stream of the caller may begin another request."""
        limits = caller.member.limits
        calls, users = self._under_way.get(caller.member.id, (0, 0))
        return calls < limits.posts_per_second and users < limits.users_per_second

    async def room(self, caller: Caller) -> None:
        """Wait until there is room for another request."""
        while not self.has_room(caller):
            changed = self._changed.get(caller.member.id)
            if changed is None:
                changed = self._changed[caller.member.id] = asyncio.get_running_loop().create_future()
            await asyncio.shield(changed)


async def decided_in_time(
    quotas: Quotas, member: Member, batch: Batch, counts: Sequence[int], decisions: Decisions, turn: Turn
) -> Sequence[Decision]:
    """The decisions on posts in order; `decisions` are the first ones, and refused posts ask again each second.

    `counts` are the users of each post. A post stays refused if it has more users than a second admits, or if its
    deadline passes before the next second. `turn` is the batch's: those that need not be in order pass it meanwhile.

    Raises:
        AudienceError: UNAVAILABLE, when the cluster does not answer or the turn does not come before the deadline.
    """
    decided = list(await decisions)
    while True:
        later = quotas.next_posts(member)
        waiting = [
            index
            for index, (post, count) in enumerate(zip(batch.posts, counts, strict=True))
            if decided[index] is not None
            and not post.ended
            and count <= member.limits.users_per_second
            and post.deadline > later
        ]
        if not waiting:
            return decided
        turn.let_pass()
        await turn.come(batch.deadline)  # asking earlier would take the room that earlier batches wait for
        await asyncio.sleep(later - asyncio.get_running_loop().time())
        again = quotas.ask_posts(member, [counts[index] for index in waiting], batch.deadline)
        for index, decision in zip(waiting, await again, strict=True):
            decided[index] = decision
