"""Finds out which users members must no longer add to segments (source: contract-neighbours, "Privacy").

A worker follows the list of the members that have suppressed users, and looks up users only for these members. While
its list is stale, it looks them up for all members. A user's suppressions are kept beside the user's memberships, so
that no other part of the cluster has to be in reach (docs/adr/0028-suppression.md).
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from instantaudience_server.errors import STORE_FAILURES, unavailable
from instantaudience_server.observation.metrics import SUPPRESSIONS_STALE
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.interfaces.suppressions import ALL_MEMBERS, Found, SuppressionStore

log = structlog.get_logger()

FOLLOW_SECONDS = 0.2
"""The pause between two questions about the list of members."""
ANSWER_SECONDS = 0.5
"""How long the cluster may take to answer."""
CURRENT_SECONDS = 0.9
"""How long an answer is trusted, from when it was asked for: a suppression has effect on every worker within a
second."""

AHEAD_MS = 24 * 3600 * 1000
"""How far this worker's clock may be ahead. For this long after a member's last suppression has ended, its users are
still looked up, as the cluster's clock decides."""


class Suppressions:
    """Looks up suppressed users. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: SuppressionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._version: bytes | None = None
        self._members: Mapping[int, int] = {}
        self._current_until = 0.0
        self._is_known = True

    def may_concern(self, member_id: int) -> bool:
        """Whether a member may have suppressed users; answered from memory."""
        members = self._members
        if not members:
            return self._loop.time() >= self._current_until
        return self._lasts(member_id) or self._lasts(ALL_MEMBERS) or self._loop.time() >= self._current_until

    async def among(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> frozenset[bytes]:
        """The users, among those given by the keys of their memberships, whom the member must not add to segments.

        The caller has to write its additions of the others within three minutes: a user who is suppressed meanwhile is
        removed once more after that time (`memberships/forgetting.py`).

        Raises:
            AudienceError: UNAVAILABLE.
        """
        return (await self.look(member_id, user_keys, deadline)).known_of_all()

    async def look(self, member_id: int, user_keys: Sequence[bytes], deadline: float) -> Found:
        """As `among`, also returning the users who could not be looked up by the deadline.

        Raises:
            AudienceError: UNAVAILABLE; no user was looked up.
        """
        if not user_keys or not self.may_concern(member_id):
            return Found(frozenset(), {})
        return await self._store.find(member_id, user_keys, deadline)

    async def follow(self) -> None:
        """Follow the list of members that have suppressed users, forever."""
        # A process that has just begun does much else, and may come late to the first answer.
        given_until = self._loop.time() + CURRENT_SECONDS
        while True:
            asked = self._loop.time()
            try:
                version = await self._store.version(asked + ANSWER_SECONDS)
                if self._version and not version:  # the cluster lost it, or a restore has not written it yet
                    raise unavailable("the cluster does not know any more who has suppressed users")
                if version != self._version:
                    self._members = await self._store.members(asked + ANSWER_SECONDS)
                    self._version = version
                self._current_until = asked + CURRENT_SECONDS
                self._report(is_known=True)
            except STORE_FAILURES:
                self._report(is_known=self._loop.time() < max(self._current_until, given_until))
            await asyncio.sleep(FOLLOW_SECONDS)

    def _lasts(self, member_id: int) -> bool:
        end_ms = self._members.get(member_id)
        return end_ms is not None and (end_ms == NEVER or end_ms + AHEAD_MS > self._clock.now_ms())

    def _report(self, *, is_known: bool) -> None:
        SUPPRESSIONS_STALE.set(not is_known)
        if self._is_known and not is_known:
            log.warning(Event.SUPPRESSIONS_STALE)
        elif is_known and not self._is_known:
            log.info(Event.SUPPRESSIONS_CURRENT)
        self._is_known = is_known
