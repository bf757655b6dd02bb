"""Limits the rate at which large answers are sent."""

import asyncio

from instantaudience_server.errors import overloaded

MOST_MEMBERS = 10_000
"""About the most members that are remembered."""


class Pace:
    """Limits the bytes per second of each member, with a burst after a pause (the generic cell rate algorithm, ITU-T
    I.371). Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, bytes_per_second: float, burst_bytes: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._burst_seconds = burst_bytes / bytes_per_second
        self._loop = asyncio.get_running_loop()
        self._paid: dict[int, float] = {}
        """By member: when everything admitted so far would have been sent at the plain rate (event loop's clock)."""

    def check(self, member_id: int, deadline: float) -> None:
        """Check early whether an answer could be admitted by the deadline.

        Raises:
            AudienceError: UNAVAILABLE, if not.
        """
        if self._paid.get(member_id, 0.0) - self._burst_seconds >= deadline:
            raise overloaded("Large reports are asked for faster than they can be sent; ask for fewer hours")

    async def admit(self, member_id: int, size: int, deadline: float) -> None:
        """Wait until an answer of `size` bytes may be sent.

        Raises:
            AudienceError: UNAVAILABLE, if that would be after the deadline; then the answer does not count.
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
