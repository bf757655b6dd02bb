"""Reads the posts of a batch, many as one where possible: what they change, and the result of each."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, TypeVar

from instantaudience_server.applied import Applied
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.errors import AudienceError
from instantaudience_server.memberships.external_ids import ExternalIds
from instantaudience_server.memberships.posts import Batch, Post, Result, fail
from instantaudience_server.memberships.reading import identity
from instantaudience_server.memberships.reading.alone import Reading
from instantaudience_server.memberships.reading.by_blocks import KeySet
from instantaudience_server.memberships.reading.known_blocks import KnownBlocks
from instantaudience_server.memberships.reading.skipped import COMPLETE
from instantaudience_server.memberships.reading.together import TogetherReader
from instantaudience_server.memberships.reading.wire import decode_user, split_user
from instantaudience_server.store.interfaces.groups import PackedChanges
from instantaudience_server.store.interfaces.memberships import Changes, MembershipStore

Done = TypeVar("Done")

TURN_SECONDS = 0.002
"""How long posts are read one after the other before the event loop may run other calls."""
MOST_PACKED = 5000
"""How many changes of memberships may be encoded as commands without a pause (more than a millisecond). Changes that
several users share count once."""


class Read(NamedTuple):
    """Posts that were read as one.

    `applied` is what they change, and `keys` has the keys of the users whose memberships change. `results` are the
    posts' results, valid once that is written. `packed` has the encoded commands if they were prepared ahead.
    """

    applied: Applied
    keys: KeySet
    posts: Sequence[Post]
    results: Sequence[Result]
    packed: PackedChanges | None = None


class BatchReading:
    """Reads posts, according to the catalog at that moment."""

    def __init__(self, catalog: Catalog, external_ids: ExternalIds, store: MembershipStore) -> None:
        self._catalog = catalog
        self._store = store
        self._known = KnownBlocks(catalog)
        self._together = TogetherReader(catalog, self._known)
        self._external_ids = external_ids
        self._piece = asyncio.Lock()
        """Held for each piece of long work, so that each turn of the event loop has one piece at most."""

    async def read(
        self,
        posts: Sequence[Post],
        batch: Batch,
        caller: Caller,
        now_ms: int,
        suppressed: frozenset[bytes] = frozenset(),
    ) -> Sequence[Read]:
        """Read posts as one if possible, else the regular ones as one and the others separately. Posts that cannot be
        read fail. Users whose keys are `suppressed` are added to nothing.

        If a user is both in a regular and in another post, all posts are read separately, to keep their order.
        """
        left = [post for post in posts if not post.ended]
        if len(left) > 1:
            together = self._read_together(left, caller, now_ms, suppressed)
            if together is not None:
                return [together]
            regular = [
                self._read_together([post], caller, now_ms, suppressed) is not None async for post in _in_turns(left)
            ]
            together = self._read_together(list(compress(left, regular)), caller, now_ms, suppressed)
            if together is not None:
                others = [post for post, is_regular in zip(left, regular, strict=True) if not is_regular]
                alone = await self.read_each(others, batch, caller, now_ms, suppressed)
                if all(together.keys.isdisjoint(other.keys) for other in alone):
                    return [together, *alone]
        return await self.read_each(left, batch, caller, now_ms, suppressed)

    def _read_together(
        self, posts: Sequence[Post], caller: Caller, now_ms: int, suppressed: frozenset[bytes]
    ) -> Read | None:
        """Read posts as one; None if they are not regular (see `TogetherReader.read`)."""
        if not posts or any(post.validate_only for post in posts):
            return None
        try:
            together = self._together.read([post.users for post in posts], caller.member, now_ms, suppressed)
        except AudienceError:
            return None
        if together is None:
            return None
        applied, keys, counts = together
        results = {each: Result(*each) for each in set(counts)}
        return Read(applied, keys, posts, [results[each] for each in counts])

    async def read_each(
        self, posts: Sequence[Post], batch: Batch, caller: Caller, now_ms: int, suppressed: frozenset[bytes]
    ) -> list[Read]:
        """Read posts separately, in their order; those that cannot be read fail."""
        reads = []
        async for post in _in_turns(posts):
            try:
                regular = self._read_together([post], caller, now_ms, suppressed)
                reads.append(regular or await self._read_alone(post, batch, caller, now_ms, suppressed))
            except AudienceError as error:
                fail((post,), error)
        return reads

    async def packed(self, reads: Sequence[Read]) -> Sequence[Read]:
        """Encode, in pieces, the commands of those reads that would block the event loop if encoded at once."""
        return [
            read._replace(packed=await self._letting_others(self._store.pack(read.applied.changes)))
            if _is_long(read.applied.changes)
            else read
            for read in reads
        ]

    async def _read_alone(
        self, post: Post, batch: Batch, caller: Caller, now_ms: int, suppressed: frozenset[bytes]
    ) -> Read:
        """Read a post that may have external IDs, invalid parts, or anything else that is not regular.

        Raises:
            AudienceError: SYNTAX; UNAVAILABLE, when external IDs cannot be resolved.
        """
        users = post.users
        platform_keys = await self._external_ids.of_request(users, caller.member, batch.deadline)
        form = post.warning_form or COMPLETE
        reading = Reading(self._catalog, self._known, caller, now_ms, platform_keys, suppressed, form=form)
        await self._letting_others(reading.read(users))
        invalid_users = None if reading.users else map(decode_user, users)
        warnings = await self._letting_others(reading.warnings.of_answer(invalid_users))
        result = Result(reading.users, reading.segments, warnings)
        return Read(reading.applied(), reading.keys, [post], [result])

    async def _letting_others(self, work: Generator[None, None, Done]) -> Done:
        """Run a generator to its end and return its result; where it yields, the event loop may run other calls."""
        while True:
            async with self._piece:
                try:
                    next(work)
                except StopIteration as end:
                    done: Done = end.value
                    return done
                await asyncio.sleep(0)


def _is_long(changes: Changes) -> bool:
    """Whether encoding the changes takes long (see `MOST_PACKED`)."""
    return len(changes) > 1 and sum([len(each) for _, ends in changes for each in ends.values()]) > MOST_PACKED


def users_of(post: Post) -> Iterator[bytes]:
    """The users' keys of a post that was read as one with others, so that all its users have platform IDs."""
    keys = (identity.encoded_platform_key(split_user(user)[0]) for user in post.users)
    return (key for key in keys if key is not None)


async def _in_turns(posts: Sequence[Post]) -> AsyncIterator[Post]:
    """Yield the posts; between two of them, every `TURN_SECONDS`, the event loop may run other calls."""
    time = asyncio.get_running_loop().time
    turn_ends = time() + TURN_SECONDS
    for post in posts:
        if time() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = time() + TURN_SECONDS
        yield post
