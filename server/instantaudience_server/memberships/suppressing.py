"""Keeps posts from adding suppressed users to segments (docs/adr/0028-suppression.md)."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError
from instantaudience_server.memberships.batch_reading import BatchReading, Read, users_of
from instantaudience_server.memberships.posts import Batch, Post
from instantaudience_server.store.interfaces.memberships import joins
from instantaudience_server.store.interfaces.suppressions import Found
from instantaudience_server.suppressions import Suppressions

PATIENCE_SECONDS = 0.05
"""How long all posts of a batch wait for the suppressions of its users; after that, each waits for its own users'."""


class Looked(NamedTuple):
    """Posts that add no suppressed user (`known`), and posts with users of which it is not known yet whether they are
    suppressed (`unknown`, each read separately).

    Of posts that change the same user, the `known` ones came first.
    """

    known: Sequence[Read]
    unknown: Sequence[Read]


class Suppressing:
    """Finds suppressed users in posts, and has posts with such users read again by `reading`, without adding those."""

    def __init__(self, suppressions: Suppressions, reading: BatchReading) -> None:
        self._suppressions = suppressions
        self._reading = reading

    def may_concern(self, caller: Caller) -> bool:
        """Whether the caller's member may have suppressed users; answered from memory."""
        return self._suppressions.may_concern(caller.member.id)

    async def look(self, reads: Sequence[Read], batch: Batch, caller: Caller) -> Looked:
        """Look up the suppressions of all users of a batch at once, waiting for about `PATIENCE_SECONDS` at most.

        Raises:
            AudienceError: UNAVAILABLE, when the service is overloaded.
        """
        time = asyncio.get_running_loop().time
        until = min(batch.deadline, time() + PATIENCE_SECONDS)
        joining = _joining(reads)
        try:
            found = await self._suppressions.look(caller.member.id, joining, until)
        except AudienceError as error:
            if time() < until:
                raise
            found = Found(frozenset(), dict.fromkeys(joining, error))  # too late to ask: this process stood still
        known: list[Read] = []
        unknown: list[Read] = []
        unknown_users, looked = set(found.failures), set(joining)
        for read in reads:
            now_ms = read.applied.now_ms
            waiting, others = _apart(read, unknown_users)
            if not waiting and read.keys.isdisjoint(found.suppressed):
                known.append(read)
                continue
            again = await self._reading.read(others, batch, caller, now_ms, found.suppressed)
            if looked.issuperset(_joining(again)):
                known += again
            else:  # a single post, by which more users join now, as the catalog or a mapping of external IDs changed
                waiting = read.posts
                unknown_users.update(read.keys)
            unknown += await self._reading.read_each(waiting, batch, caller, now_ms, frozenset())
        return Looked(known, unknown)

    async def look_alone(self, read: Read, batch: Batch, caller: Caller) -> Sequence[Read]:
        """Look up the suppressions of the users of a post that was read separately, until its deadline.

        Returns the post as it may be written; empty if it has ended meanwhile.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        (post,) = read.posts
        looked: set[bytes] = set()
        suppressed: frozenset[bytes] = frozenset()
        reads: Sequence[Read] = [read]
        # Reading again may add further users: the catalog and the mappings of external IDs may have changed.
        while joining := [key for key in _joining(reads) if key not in looked]:
            found = await self._suppressions.among(caller.member.id, joining, post.deadline)
            looked.update(joining)
            if found or post.ended:
                suppressed |= found
                reads = await self._reading.read([post], batch, caller, read.applied.now_ms, suppressed)
        return reads


def _apart(read: Read, unknown_users: set[bytes]) -> tuple[Sequence[Post], Sequence[Post]]:
    """The posts that change any of these users, and the others.

    No post may overtake an earlier one with the same user, so all users of such a post are added to `unknown_users`.
    """
    if read.keys.isdisjoint(unknown_users):
        return (), read.posts
    waiting, others = [], []
    for post in read.posts:
        users = read.keys if len(read.posts) == 1 else frozenset(users_of(post))
        if unknown_users.isdisjoint(users):
            others.append(post)
        else:
            unknown_users.update(users)
            waiting.append(post)
    return waiting, others


def _joining(reads: Sequence[Read]) -> Sequence[bytes]:
    """The keys of the users that are added to a segment, each once."""
    return list(
        dict.fromkeys(key for read in reads for keys, changes in read.applied.changes if joins(changes) for key in keys)
    )
