"""Lets large answers go at a bounded rate."""

import asyncio

from instantaudience_server.errors import overloaded

MOST_MEMBERS = 10_000
"""Members that are remembered, about."""


class Pace:
    """Lets so many bytes a second go for each member, and so many at once after a pause (the generic cell rate
    algorithm, ITU-T I.371). Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, bytes_per_second: float, burst_bytes: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._burst_seconds = burst_bytes / bytes_per_second
        self._loop = asyncio.get_running_loop()
        self._paid: dict[int, float] = {}
        """When what has gone for a member would have gone at the plain rate."""

    def check(self, member_id: int, deadline: float) -> None:
        """Say early that an answer could not go.

        Raises:
            AudienceError: UNAVAILABLE, when it would not be by the deadline.
        """
        if self._paid.get(member_id, 0.0) - self._burst_seconds >= deadline:
            raise overloaded("Large reports are asked for faster than they can be sent; ask for fewer hours")

    async def admit(self, member_id: int, size: int, deadline: float) -> None:
        """Return when an answer of so many bytes may go.

        Raises:
            AudienceError: UNAVAILABLE, when that would not be by the deadline; then it does not count.
        """
        self.check(member_id, deadline)
        now = self._loop.time()
        if len(self._paid) >= MOST_MEMBERS:
            self._paid = {member: paid for member, paid in self._paid.items() if paid > now}
        paid = max(now, self._paid.get(member_id, now))
        self._paid[member_id] = paid + size / self._bytes_per_second
        wait = paid - now - self._burst_seconds
        if wait > 0:
            await asyncio.sleep(wait)
