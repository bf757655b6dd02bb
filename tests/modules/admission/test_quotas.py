"""The limits of members (contract, "Limits"): what a worker asks, what it refuses by itself, and what callers see."""

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.admission.quotas import MOST_CALLS, Decisions, Limits, Quotas
from instantaudience_server.catalog.catalog import Member
from instantaudience_server.errors import AudienceError, Reason, unavailable
from instantaudience_server.store.interfaces.quotas import Admissions, Counts, Quota
from support.clocks import run_on_told_time, told_loop
from support.parts.quotas import Windows
from support.waiting import eventually, turns

LATER = float("inf")


def member(number: int = 123, **limits: int) -> Member:
    return Member(number, "M", 0, frozenset([number]), None, Limits(**limits))


class Gated:
    """A store whose answers wait until they are let go; `windows` decides."""

    def __init__(self) -> None:
        self.windows = Windows()
        self.asked: list[tuple[int, Quota, list[int], Counts, float]] = []
        self.gates: list[asyncio.Future[None]] = []

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        self.asked.append((member_id, quota, list(calls), limits, deadline))
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)

        async def answer() -> Admissions:
            await gate
            return await self.windows.ask(member_id, quota, calls, limits, deadline)

        return asyncio.ensure_future(answer())

    @property
    def questions(self) -> list[list[int]]:
        return [calls for _, _, calls, _, _ in self.asked]

    async def answer(self, error: Exception | None = None) -> None:
        """Answer the last question."""
        await turns()
        gate = self.gates[-1]
        gate.set_exception(error) if error else gate.set_result(None)
        await turns()


def ask(quotas: Quotas, of: Member, users: int, deadline: float) -> "asyncio.Future[None]":
    """Ask for one request; what is returned fails as the request has to."""
    return asyncio.ensure_future(_decided(quotas.ask_posts(of, [users], deadline)))


async def _decided(decisions: Decisions) -> None:
    (decision,) = await decisions
    if decision is not None:
        raise decision


def outcome(admitted: "asyncio.Future[None]") -> str:
    if not admitted.done():
        return "waits"
    error = admitted.exception()
    return "admitted" if error is None else error.reason.name  # type: ignore[attr-defined]


async def refused(quotas: Quotas, of: Member, users: int = 1) -> AudienceError:
    """The error of a call that must be refused."""
    with pytest.raises(AudienceError) as failed:
        await ask(quotas, of, users, LATER)
    assert failed.value.reason is Reason.RATE_LIMIT_EXCEEDED
    return failed.value


class TestQuestions:
    async def test_posts_are_asked_for_at_once_and_the_next_question_gathers_meanwhile(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        first = quotas.ask_posts(member(), [1, 2], LATER)
        assert store.questions == [[1, 2]]
        now = asyncio.get_running_loop().time()
        second = [ask(quotas, member(), users, now + users) for users in (30, 50, 40)]
        await turns()
        assert store.questions == [[1, 2]]
        await store.answer()
        assert first.result() == [None, None]
        assert [outcome(call) for call in second] == ["waits"] * 3
        assert store.questions == [[1, 2], [30, 50, 40]]
        assert store.asked[-1][-1] == now + 50  # each has its own deadline all the same
        await store.answer()
        assert [outcome(call) for call in second] == ["admitted"] * 3
        assert len(store.asked) == 2

    async def test_reads_of_a_turn_are_one_question(self) -> None:
        windows = Windows()
        quotas = Quotas(windows)
        for admitted in [quotas.ask_gets(member(), "segment", count, LATER) for count in (1, 2)]:
            await admitted
        assert windows.questions == [[1, 2]]

    async def test_members_and_quotas_have_questions_of_their_own(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        limits = {"posts_per_second": 5, "users_per_second": 6, "gets_per_second": 7}
        ask(quotas, member(1, **limits), 2, 10.0)
        quotas.ask_posts(member(2), [3, 3], 40.0)
        reading = quotas.ask_gets(member(1, **limits), "segment", 4, 30.0)
        await turns()
        assert sorted(store.asked) == [
            (1, Quota.GETS, [4], Counts(7, 7), 30.0),
            (1, Quota.POSTS, [2], Counts(5, 6), 10.0),
            (2, Quota.POSTS, [3, 3], Counts(100, 1000), 40.0),
        ]
        await quotas.close()
        with pytest.raises(AudienceError) as ended:
            await reading
        assert ended.value.reason is Reason.UNAVAILABLE

    async def test_a_question_is_bounded(self) -> None:
        windows = Windows()
        quotas = Quotas(windows)
        many = member(posts_per_second=10_000, users_per_second=10_000)
        calls = [ask(quotas, many, 1, LATER) for _ in range(2 * MOST_CALLS + 1)]
        await asyncio.gather(*calls)
        assert [len(question) for question in windows.questions] == [1, MOST_CALLS, MOST_CALLS]
        quotas.ask_posts(many, [1] * (MOST_CALLS + 1), LATER)  # what is asked for together is not split
        assert len(windows.questions[-1]) == MOST_CALLS + 1

    async def test_calls_that_have_left_are_not_asked_for(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        asked = ask(quotas, member(), 1, LATER)
        await turns()
        waiting = [ask(quotas, member(), users, LATER) for users in (2, 3)]
        await turns()
        asked.cancel()
        waiting[0].cancel()
        await store.answer()
        assert store.questions == [[1], [3]]
        await store.answer()
        assert outcome(waiting[1]) == "admitted"

    async def test_counters_that_nobody_waits_for_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("instantaudience_server.admission.quotas.MOST_COUNTERS", 3)
        windows = Windows()
        quotas = Quotas(windows)
        for number in range(10):
            await ask(quotas, member(number), 1, LATER)
            assert len(quotas._counters) <= 3
        assert len(windows.questions) == 10

    async def test_a_counter_that_is_waited_for_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A member has one question under way at a time, however many others ask meanwhile."""
        monkeypatch.setattr("instantaudience_server.admission.quotas.MOST_COUNTERS", 3)
        store = Gated()
        quotas = Quotas(store)
        quotas.ask_posts(member(0), [1], LATER)
        for number in range(1, 5):
            quotas.ask_gets(member(number), "segment", 1, LATER)
        quotas.ask_posts(member(0), [2], LATER)
        assert store.questions == [[1]]
        await quotas.close()


class TestRefusals:
    @pytest.mark.parametrize(
        ("limits", "before", "users", "text", "count"),
        [
            ({}, [1] * 100, 1, "100 writes per 1 seconds to rt-segment", "100"),
            ({}, [600], 401, "1000 users per 1 seconds to rt-segment", "1"),
            ({"posts_per_second": 2}, [0, 0], 0, "2 writes per 1 seconds to rt-segment", "2"),
            ({"users_per_second": 5}, [], 6, "5 users per 1 seconds to rt-segment", "0"),
        ],
    )
    async def test_a_post(self, limits: dict[str, int], before: list[int], users: int, text: str, count: str) -> None:
        quotas = Quotas(Windows())
        await asyncio.gather(*(ask(quotas, member(**limits), each, LATER) for each in before))
        for _ in ("by the cluster", "by the worker"):
            error = await refused(quotas, member(**limits), users)
            assert error.message == (
                f"Rate limit exceeded. You have exceeded your request limit of {text}, wait and try again or contact "
                "your administrator for higher limits"
            )
            assert error.retry_after_seconds == 1
            assert error.metadata == {"count": count, "subject": "member:123"}

    async def test_a_get(self, subtests: pytest.Subtests) -> None:
        for resource in ["rt-segment", "segment", "rt-segment-processed"]:
            with subtests.test(resource=resource):
                quotas = Quotas(Windows())
                await quotas.ask_gets(member(), resource, 999, LATER)
                await quotas.ask_gets(member(), resource, 1, LATER)
                with pytest.raises(
                    AudienceError, match=f"limit of 1000 reads per 1 seconds to {resource}, wait"
                ) as failed:
                    await quotas.ask_gets(member(), resource, 1, LATER)
                assert failed.value.metadata["count"] == "1000"
                with pytest.raises(AudienceError):
                    quotas.ask_gets(member(), resource, 1, LATER)  # known at once: nothing is read for it

    async def test_a_window_known_to_be_full_is_not_asked_about(self) -> None:
        now = [0.0]
        windows = Windows(lambda: now[0])
        quotas = Quotas(windows)
        limited = member(posts_per_second=3, users_per_second=10)
        await ask(quotas, limited, 6, LATER)
        assert len(windows.questions) == 1
        await refused(quotas, limited, 5)  # of 4 that are left
        assert len(windows.questions) == 1
        await ask(quotas, limited, 4, LATER)
        assert len(windows.questions) == 2
        await refused(quotas, limited, 1)
        await ask(quotas, limited, 0, LATER)  # the third call
        await refused(quotas, limited, 0)
        assert len(windows.questions) == 3
        await ask(quotas, member(124), 1, LATER)
        await refused(quotas, limited, 0)  # as before, whoever else has come
        assert len(windows.questions) == 4

    async def test_a_full_window_is_asked_about_again_when_it_may_have_ended(self) -> None:
        windows = Windows(lambda: 1 - 1e-9)  # it ends as soon as it is known
        quotas = Quotas(windows)
        limited = member(posts_per_second=1)
        await ask(quotas, limited, 1, LATER)
        await refused(quotas, limited)
        await refused(quotas, limited)
        assert len(windows.questions) == 3

    def test_a_window_ends_in_time_however_late_its_answer_comes(self) -> None:
        async def run() -> str:
            loop = told_loop()
            quotas = Quotas(Slow(Windows(lambda: 0.5)))
            first = ask(quotas, member(posts_per_second=1), 1, LATER)
            await asyncio.sleep(0)
            loop.now = 0.5  # it was asked for before
            await first
            second = ask(quotas, member(posts_per_second=1), 1, LATER)
            await asyncio.sleep(0)
            try:
                return outcome(second)
            finally:
                await quotas.close()
                await asyncio.gather(second, return_exceptions=True)

        assert run_on_told_time(run()) == "waits"

    async def test_of_calls_that_are_asked_for_together_some_are_decided_before(self) -> None:
        windows = Windows()
        quotas = Quotas(windows)
        limited = member(users_per_second=10)
        await ask(quotas, limited, 4, LATER)
        windows.of(limited.id, Quota.POSTS, 0).append(5)  # another worker's
        decided = await quotas.ask_posts(limited, [7, 2, 1], LATER)
        assert [decision is None for decision in decided] == [False, False, True]
        assert windows.questions == [[4], [2, 1]]

    async def test_a_higher_limit_counts_at_once(self) -> None:
        quotas = Quotas(Windows())
        await ask(quotas, member(posts_per_second=1), 1, LATER)
        await refused(quotas, member(posts_per_second=1))
        await ask(quotas, member(posts_per_second=2), 1, LATER)

    async def test_calls_that_wait_for_a_full_window_are_not_asked_for(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        limited = member(posts_per_second=2)
        first = quotas.ask_posts(limited, [1] * 3, LATER)
        waiting = [ask(quotas, limited, 1, LATER) for _ in range(5)]
        await store.answer()
        assert [decision is None for decision in first.result()] == [True, True, False]
        assert [outcome(call) for call in waiting] == ["RATE_LIMIT_EXCEEDED"] * 5
        assert len(store.asked) == 1


class TestSpent:
    async def test_no_post_has_room(self, subtests: pytest.Subtests) -> None:
        for before, users, quota in [([1, 1, 1], 1, "posts"), ([4, 6], 1, "users"), ([4, 6], 6, "users")]:
            with subtests.test(before=before, users=users, quota=quota):
                quotas, limited = Quotas(Windows()), member(posts_per_second=3, users_per_second=10)
                for each in before:
                    await ask(quotas, limited, each, LATER)
                for number in (1, 2, 3):
                    spent = (await refused(quotas, limited, users)).spent
                    assert spent is not None
                    assert (spent.member_id, spent.quota, spent.refused) == (123, quota, number)

    async def test_no_read_has_room(self) -> None:
        quotas, limited = Quotas(Windows()), member(gets_per_second=2)
        await quotas.ask_gets(limited, "segment", 2, LATER)
        with pytest.raises(AudienceError) as failed:
            await quotas.ask_gets(limited, "segment", 1, LATER)
        assert failed.value.spent is not None
        assert failed.value.spent.quota == "gets"

    async def test_where_a_smaller_call_may_have_room_nothing_is_spent(self) -> None:
        quotas, limited = Quotas(Windows()), member(users_per_second=10)
        await ask(quotas, limited, 6, LATER)
        assert (await refused(quotas, limited, 5)).spent is None

    def test_it_lasts_as_long_as_its_window(self) -> None:
        async def main() -> None:
            loop = told_loop()
            quotas, limited = Quotas(Windows(loop.time)), member(posts_per_second=1)
            loop.now = 10.25
            for ends in (11.0, 12.0):
                await ask(quotas, limited, 1, LATER)
                spent = (await refused(quotas, limited)).spent
                assert spent is not None
                assert (spent.until, spent.refused) == (ends, 1)
                loop.now = ends

        run_on_told_time(main())


class TestOutages:
    async def test_a_question_that_is_not_answered_lets_nobody_through(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        calls = [ask(quotas, member(), 1, LATER) for _ in range(3)]
        for _ in range(2):
            await store.answer(unavailable("the cluster did not answer in time"))
        assert store.questions == [[1], [1, 1]]
        assert [outcome(call) for call in calls] == ["UNAVAILABLE"] * 3
        after = ask(quotas, member(), 1, LATER)
        await store.answer()
        assert outcome(after) == "admitted"

    async def test_a_defect_is_its_calls_defect(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        call = ask(quotas, member(), 1, LATER)
        await store.answer(RuntimeError("NOPERM"))
        with pytest.raises(RuntimeError):
            await call

    async def test_a_call_waits_until_its_own_deadline(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        now = asyncio.get_running_loop().time()
        asked = [ask(quotas, member(), 1, deadline) for deadline in (now - 1, LATER)]
        await turns()
        waiting = [ask(quotas, member(), 1, deadline) for deadline in (now + 0.03, LATER)]
        with pytest.raises(AudienceError) as failed:
            await waiting[0]
        assert (failed.value.reason, failed.value.retry_after_seconds) == (Reason.UNAVAILABLE, 1)
        assert [outcome(call) for call in asked + waiting] == ["UNAVAILABLE", "waits"] * 2
        await store.answer()
        assert store.questions == [[1], [1, 1]]
        await store.answer()
        assert [outcome(call) for call in (asked[1], waiting[1])] == ["admitted"] * 2

    async def test_calls_that_have_failed_are_let_go(self) -> None:
        """Those with short deadlines come and go while the question of one with a long deadline is under way."""
        store = Gated()
        quotas = Quotas(store)
        asked = ask(quotas, member(), 1, LATER)
        await turns()
        waiting = quotas.ask_posts(member(), [1], asyncio.get_running_loop().time() + 0.03)
        kept = weakref.ref(waiting)
        await asyncio.wait([waiting])
        del waiting

        async def is_gone() -> None:
            assert kept() is None

        await eventually(is_gone)
        assert outcome(asked) == "waits"
        await store.answer()
        assert outcome(asked) == "admitted"

    async def test_closing_ends_calls(self) -> None:
        store = Gated()
        quotas = Quotas(store)
        asked = ask(quotas, member(), 1, LATER)
        await turns()
        waiting = ask(quotas, member(), 1, LATER)
        await quotas.close()
        assert [outcome(call) for call in (asked, waiting)] == ["UNAVAILABLE"] * 2


LIMITED = member(posts_per_second=4, users_per_second=12)
steps = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 2), st.integers(0, 8)),
    st.tuples(st.just("wait"), st.floats(0, 1.5), st.none()),
    st.tuples(st.just("turn"), st.integers(1, 4), st.none()),
)


@given(st.lists(steps, max_size=60))
def test_no_window_is_passed_and_nobody_is_refused_who_fits(schedule: list[tuple[str, Any, Any]]) -> None:
    """Three workers, one cluster, and time that goes on at any moment: also between a question and its answer."""

    async def run() -> tuple[Windows, int, list[tuple[int, list[Counts]]]]:
        loop = told_loop()
        windows = Windows(loop.time)
        slow = [Slow(windows) for _ in range(3)]
        workers = [Quotas(store) for store in slow]
        admitted, refusals = 0, []

        async def call(worker: int, users: int) -> None:
            nonlocal admitted
            began = int(loop.time())
            try:
                await ask(workers[worker], LIMITED, users, LATER)
                admitted += 1
            except AudienceError:
                windows_then = [
                    windows.of(LIMITED.id, Quota.POSTS, began + i) for i in range(int(loop.time()) - began + 1)
                ]
                refusals.append((users, [Counts(len(window), sum(window)) for window in windows_then]))

        calls = []
        for step, amount, users in schedule:
            if step == "call":
                calls.append(asyncio.create_task(call(amount, users)))
            elif step == "wait":
                loop.now += amount
            else:
                await turns(amount)
        await asyncio.gather(*calls)
        for worker in workers:
            await worker.close()
        return windows, admitted, refusals

    windows, admitted, refusals = run_on_told_time(run())
    assert all(len(window) <= 4 and sum(window) <= 12 for window in windows.admitted.values())
    assert admitted == sum(len(window) for window in windows.admitted.values())
    for users, counts in refusals:
        # In some window between the call and its refusal, there was no room for it.
        assert any(calls == 4 or units + users > 12 for calls, units in counts)


class Slow:
    """A way to the windows and back that takes some turns."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def ask(self, *question: Any) -> "asyncio.Future[Admissions]":
        return asyncio.ensure_future(self._ask(*question))

    async def _ask(self, *question: Any) -> Admissions:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answer = await self._windows.ask(*question)
        await asyncio.sleep(0)
        return answer
