"""A model of quota windows, as simple as possible: the contract's section "Limits", in memory."""

import asyncio
from collections.abc import Callable, Sequence

from instantaudience_server.store.interfaces.quotas import Admissions, Counts, Quota


class Windows:
    """Windows of one second of a clock (in seconds). A `QuotaStore` that answers at once."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self.admitted: dict[tuple[int, Quota, int], list[int]] = {}
        """The units of every admitted call, by member, quota and second."""
        self.questions: list[list[int]] = []
        """The calls of each question."""

    def of(self, member_id: int, quota: Quota, second: int) -> list[int]:
        """What a window has admitted so far."""
        return self.admitted.setdefault((member_id, quota, second), [])

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        """Decide on the calls one after the other."""
        self.questions.append(list(calls))
        now = self._clock()
        window = self.of(member_id, quota, int(now))
        decisions = []
        for units in calls:
            fits = len(window) + 1 <= limits.calls and sum(window) + units <= limits.units
            decisions.append(fits)
            if fits:
                window.append(units)
        answer: asyncio.Future[Admissions] = asyncio.get_running_loop().create_future()
        answer.set_result(Admissions(decisions, Counts(len(window), sum(window)), int(now) + 1 - now))
        return answer
