"""Writes the changes of a file's rows: in order for each user, several lots of rows at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from instantaudience_server.batch.counters import Counters
from instantaudience_server.batch.reading.rows import Taken
from instantaudience_server.batch.yielding import Yielding
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.memberships import MembershipStore, Writing
from instantaudience_server.store.interfaces.segment_sizes import Joins

MOST_AT_ONCE = 6
"""The most writes under way at once."""
WRITE_SECONDS = 60.0
"""How long the cluster may fail to answer before the job is interrupted, to be resumed later."""
RETRY_SECONDS = 0.1
"""The pause while too many commands wait for the cluster."""

TakeAgain = Callable[[Collection[bytes]], Taken]
"""Evaluates the rows of a write again without the users, given by their keys, that could not be written."""


class _UnderWay(NamedTuple):
    taken: Taken
    writing: Writing
    take_again: TakeAgain


class FileWriter:
    """Writes for one job, with a `durability` (None: the service's), and counts in `counters` what is written. It
    pauses as `yielding` demands, and writes nothing more once the job's lease is lost (`is_ours`, see `JobView`)."""

    def __init__(
        self,
        store: MembershipStore,
        sizes: SegmentSizes,
        counters: Counters,
        yielding: Yielding,
        durability: Durability | None,
        is_ours: Callable[[], bool] | None,
    ) -> None:
        self._yielding = yielding
        self._is_ours = is_ours
        self._durability = durability
        self._store = store
        self._sizes = sizes
        self.counters = counters
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[_UnderWay] = deque()

    async def write(self, taken: Taken, take_again: TakeAgain) -> None:
        """Begin to write the changes of rows, once earlier writes to the same users are done.

        Raises:
            AudienceError: UNAVAILABLE, the cluster did not take this or an earlier write in time.
        """
        await self._yielding.come()
        # Not at the same time as an earlier write to the same user: a command of that may have to be sent again, after
        # a redirection or a lost connection, and would then come after this one.
        while self._under_way and (
            len(self._under_way) >= MOST_AT_ONCE
            or not all(each.taken.keys.isdisjoint(taken.keys) for each in self._under_way)
        ):
            await self._finish(self._under_way.popleft())
        writing = await self._begin(taken)
        self._yielding.begin(writing.done)
        self._under_way.append(_UnderWay(taken, writing, take_again))

    async def drain(self) -> None:
        """Wait until everything is written.

        Raises:
            AudienceError: as `write`.
        """
        while self._under_way:
            await self._finish(self._under_way.popleft())

    def abandon(self) -> None:
        """Cancel the writes under way: the store drops what it has not sent, and sends nothing again. The process that
        goes on with the job repeats them, and they must not arrive after what it writes then."""
        for under_way in self._under_way:
            under_way.writing.done.cancel()

    async def _begin(self, taken: Taken) -> Writing:
        packed = () if taken.packed is None else taken.packed.commands
        give_up = self._loop.time() + WRITE_SECONDS
        while True:
            try:
                deadline = self._loop.time() + WRITE_SECONDS
                return self._store.write(taken.changes, deadline, self._durability, packed, self._is_ours)
            except AudienceError:
                if self._loop.time() > give_up:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _finish(self, under_way: _UnderWay) -> None:
        taken, writing, take_again = under_way
        await writing.done
        failures = writing.failures()
        for error in failures.values():
            if isinstance(error, AudienceError) and error.reason is Reason.UNAVAILABLE:
                raise error
        if failures:
            taken = take_again(failures)
        self.counters.merge(taken.counters)
        await self._sizes.make_room()
        self._sizes.note(taken.changes)
        if taken.packed is not None:
            self._sizes.note(Joins(*taken.packed.joins()))
