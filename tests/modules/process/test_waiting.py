"""Calls that wait for an answer that they share: who looks after their deadlines, and what that costs."""

from instantaudience_server.process.waiting import Sweeper
from support.waiting import eventually


class Watched:
    """Some waiters; it counts how often it is looked at, and swept."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.looks = self.sweeps = 0

    @property
    def busy(self) -> bool:
        """Whether calls wait."""
        self.looks += 1
        return self.waits

    def fail_overdue(self, _: float) -> None:
        """Count it."""
        self.sweeps += 1


async def swept(group: Watched, times: int) -> None:
    async def has_been_swept() -> None:
        assert group.sweeps >= times

    await eventually(has_been_swept)


async def test_groups_in_which_nobody_waits_cost_nothing() -> None:
    """There may be thousands, of members whose calls have been answered."""
    sweeper, group, others = Sweeper(), Watched(waits=True), [Watched(waits=False) for _ in range(100)]
    for each in (group, *others):
        sweeper.arm(each)
    await swept(group, 3)
    assert {each.looks for each in others} == {1}
    assert {each.sweeps for each in others} == {0}
    sweeper.close()


async def test_a_group_is_swept_again_when_calls_wait_in_it_again() -> None:
    sweeper, group, other = Sweeper(), Watched(waits=True), Watched(waits=True)
    sweeper.arm(group)
    sweeper.arm(other)
    await swept(group, 1)
    group.waits = False
    await swept(other, other.sweeps + 2)
    times = group.sweeps
    group.waits = True
    await swept(other, other.sweeps + 2)
    assert group.sweeps == times
    sweeper.arm(group)
    await swept(group, times + 2)
    sweeper.close()
