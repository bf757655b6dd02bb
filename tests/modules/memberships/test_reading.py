"""Limits, the order of warnings, and what changes (contract, "POST /rt-segment")."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import catalog_pb2 as pb_catalog
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.files.file import DEMO, read_catalog
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships import batch_reading
from instantaudience_server.memberships.reading.alone import Reading
from instantaudience_server.memberships.reading.blocks import BLOCKS_PER_TURN
from instantaudience_server.memberships.reading.known_blocks import KnownBlocks
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.store.interfaces.catalog import Kind, Record
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE
from support.clocks import NOW_MS
from support.contract.strategies import UUID
from support.parts.callers import caller, catalog_of, demo_catalog
from support.parts.readings import encoded, piece, read, read_async, reading

DEFAULT_END = NOW_MS + 43_200 * 60_000
"""When a membership of the demo user's member ends that was sent without an expiration."""


def user(user_id: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, "seg_block": list(blocks), **more}


class TestLimits:
    def test_users_past_the_1000th_are_skipped(self, subtests: pytest.Subtests) -> None:
        for count, skipped in [(999, 0), (1000, 0), (1001, 1), (1003, 3)]:
            with subtests.test(count=count, skipped=skipped):
                users = [user(str(index + 1), {"seg_id": 12}) for index in range(count)]
                answer = read({"rt_segment": users})
                assert answer.counts == (count - skipped, count - skipped)
                assert len(answer.changes) == count - skipped
                warnings = answer.warnings
                assert [warning.path for warning in warnings] == [
                    f"rt_segment[{1000 + index}]" for index in range(skipped)
                ]
                assert {warning.code for warning in warnings} <= {pb.WARNING_CODE_TOO_MANY_USERS}
                assert answer.response["response"]["warnings"] == [
                    {"message": "Too many user_ids in request.", "entity": extra} for extra in users[1000:]
                ]

    def test_the_1000th_is_counted_among_all_users_valid_or_not(self) -> None:
        answer = read({"rt_segment": [{}] * 1000 + [user("1", {"seg_id": 12})]})
        assert answer.counts == (0, 0)
        assert answer.messages[-2:] == ["Too many user_ids in request.", "No valid rt_segment in request."]

    def test_a_user_past_the_1000th_gets_no_other_warning(self) -> None:
        good = user("1", {"seg_id": 12})
        answer = read({"rt_segment": [good] * 1000 + [{}, user("?", {}, domain="?")]})
        assert answer.messages == ["Too many user_ids in request."] * 2

    def test_blocks_past_the_100th_are_skipped(self, subtests: pytest.Subtests) -> None:
        for count in [99, 100, 101, 250]:
            with subtests.test(count=count):
                blocks = [{"seg_id": 10001, "value": value} for value in range(count)]
                answer = read({"rt_segment": [user("1", *blocks)]})
                assert answer.counts == (1, min(count, 100))
                assert answer.memberships["", "1"][10001][0] == min(count, 100) - 1
                assert answer.response["response"]["warnings"] == [
                    {"message": "Too many segments for user_id: 1.", "entity": user("1", *blocks[100:])}
                ] * (count > 100)
                assert [(warning.code, warning.path) for warning in answer.warnings] == [
                    (pb.WARNING_CODE_TOO_MANY_SEGMENTS, "rt_segment[0]")
                ] * (count > 100)

    def test_blocks_left_out_are_not_checked(self) -> None:
        answer = read({"rt_segment": [user("1", *[{"seg_id": 12}] * 100, {}, {"seg_id": 99})]})
        assert answer.messages == ["Too many segments for user_id: 1."]

    def test_blocks_left_out_cannot_make_a_user_valid(self) -> None:
        answer = read({"rt_segment": [user("1", *[{"value": 1}] * 100, {"seg_id": 12})]})
        assert answer.messages[100:] == [
            "Too many segments for user_id: 1.",
            "No valid segments for user_id: 1.",
            "No valid rt_segment in request.",
        ]
        assert answer.counts == (0, 0)

    def test_the_same_long_list_of_blocks_is_cut_for_every_user(self) -> None:
        blocks = [{"seg_id": 12}] * 101
        answer = read({"rt_segment": [user("1", *blocks), user("2", *blocks)]})
        assert answer.counts == (2, 200)
        assert answer.messages == ["Too many segments for user_id: 1.", "Too many segments for user_id: 2."]


class TestOrderOfWarnings:
    def test_blocks_then_their_user_then_the_request(self) -> None:
        blocks = [{"seg_id": 99}, {"value": 1}, {"seg_id": 40001}, {"seg_id": 12, "expiration": -2}, {"seg_id": 30001}]
        answer = read({"rt_segment": [user("?", *blocks), user("1", *blocks), {}, user("2", {}), user("3", *blocks)]})
        of_blocks = [
            ("Invalid segment: 99", 0),
            ("'seg_id' or 'seg_code' and 'member_id' are required", 1),
            ("Unauthorized segment: 40001", 2),
            ("'expiration' cannot be less than -1", 3),
            ("Inactive segment: 30001", 4),
        ]
        assert [(warning.message, warning.path) for warning in answer.warnings] == [
            ("Invalid user_id: ?", "rt_segment[0]"),
            *((message, f"rt_segment[1].seg_block[{index}]") for message, index in of_blocks),
            ("'user_id' is required and cannot be empty", "rt_segment[2]"),
            ("'seg_id' or 'seg_code' and 'member_id' are required", "rt_segment[3].seg_block[0]"),
            ("No valid segments for user_id: 2.", "rt_segment[3]"),
            *((message, f"rt_segment[4].seg_block[{index}]") for message, index in of_blocks),
        ]
        assert answer.counts == (2, 6)

    def test_segments_that_there_are_stand_among_those_that_there_are_not(self) -> None:
        """Once one is not there, those that follow are looked for together."""
        codes = [{"seg_code": code, "member_id": 1661} for code in ("nope", "abcd", "nope", "no")]
        blocks = [{"seg_id": 10001}, {"seg_id": 99}, {"seg_id": 10002}, {"seg_id": 98}, {"seg_id": 0}, *codes]
        answer = read({"rt_segment": [user("1", *blocks), user("2", *reversed(blocks))]})
        wrong = {1: "99", 3: "98", 4: "0", 5: "nope of member 1661", 7: "nope of member 1661", 8: "no of member 1661"}
        texts = [f"Invalid segment: {name}" for name in wrong.values()]
        assert answer.messages == [*texts, *reversed(texts)]
        assert {len(of_user) for of_user in answer.memberships.values()} == {3}
        assert answer.counts == (2, 18)

    def test_of_a_mapped_and_an_unknown_external_user(self) -> None:
        blocks = [{"seg_id": 50001}] * 100 + [{"seg_id": 50001}]
        request = {"rt_segment": [user("crm-1", *blocks), user("crm-2", *blocks)]}
        answer = read(request, "external", {(958, "crm-1"): "1"})
        assert answer.messages == [
            "Too many segments for user_id: crm-1.",
            "Too many segments for user_id: crm-2.",
            "Unknown user_id: crm-2",
        ]
        assert answer.counts == (2, 200)
        assert list(answer.memberships) == [("", "1")]

    def test_a_request_without_users(self, subtests: pytest.Subtests) -> None:
        for request_ in [{}, {"rt_segment": None}, {"rt_segment": []}]:
            with subtests.test(request_=request_):
                answer = read(request_)
                assert answer.response["response"]["warnings"] == [
                    {"message": "No valid rt_segment in request.", "entity": {}}
                ]
                (warning,) = answer.warnings
                assert (warning.code, warning.path) == (pb.WARNING_CODE_NO_VALID_USERS, "")

    def test_a_request_without_valid_users_is_repeated_as_received(self) -> None:
        users = [{"user_id": ""}, {"domain": ""}, user("0", {"seg_code": "", "value": 0, "expiration": 0})]
        warnings = read({"rt_segment": users}).response["response"]["warnings"]
        assert warnings[-1] == {"message": "No valid rt_segment in request.", "entity": {"rt_segment": users}}

    def test_absent_keys_and_empty_lists_are_left_out_of_an_entity(self) -> None:
        sent = {"user_id": None, "domain": None, "seg_block": [], "unknown": 1}
        warnings = read({"rt_segment": [sent]}).response["response"]["warnings"]
        assert [warning["entity"] for warning in warnings] == [{}, {"rt_segment": [{}]}]


class TestLastOneWins:
    def test_within_a_user(self) -> None:
        answer = read(
            {
                "rt_segment": [
                    user(
                        "1",
                        {"seg_id": 10001, "value": 1, "expiration": 10},
                        {"seg_code": "sports_fans", "member_id": 123, "value": 2, "expiration": 0},
                        {"seg_id": 10002, "value": 3, "expiration": -1},
                        {"seg_id": 10002, "value": 4, "expiration": 10},
                        {"seg_id": 12, "expiration": 10},
                        {"seg_id": 12, "expiration": -1},
                    )
                ]
            }
        )
        assert answer.memberships == {("", "1"): {10001: (2, NEVER), 10002: (4, NOW_MS + 600_000), 12: (0, REMOVE)}}
        assert answer.counts == (1, 6)

    def test_over_entries_of_one_user(self) -> None:
        first, second = {"seg_id": 12, "value": 1, "expiration": 10}, {"seg_id": 12, "value": 2, "expiration": 20}
        other, removal = {"seg_id": 10001, "expiration": 10}, {"seg_id": 12, "expiration": -1}
        cases: list[tuple[list[list[dict[str, Any]]], dict[int, tuple[int, int]]]] = [
            ([[first], [second]], {12: (2, NOW_MS + 1_200_000)}),
            ([[second], [first]], {12: (1, NOW_MS + 600_000)}),
            ([[first], [second], [first]], {12: (1, NOW_MS + 600_000)}),
            ([[first], [removal]], {12: (0, REMOVE)}),
            ([[removal], [first]], {12: (1, NOW_MS + 600_000)}),
            ([[first], [other]], {12: (1, NOW_MS + 600_000), 10001: (0, NOW_MS + 600_000)}),
            ([[first, other], [second]], {12: (2, NOW_MS + 1_200_000), 10001: (0, NOW_MS + 600_000)}),
            ([[first], [{"seg_id": 99}]], {12: (1, NOW_MS + 600_000)}),
        ]
        for entries, expected in cases:
            # Users in between share the blocks: what is known of them must not leak from one user to another.
            users = [user(user_id, *blocks) for blocks in entries for user_id in ("1", "2")]
            answer = read({"rt_segment": users})
            assert answer.memberships == {("", "1"): expected, ("", "2"): expected}
            assert answer.counts[0] == len(users)

    async def test_an_entry_that_changes_nothing_beside_one_that_does(self) -> None:
        """The user counts once, as one that changes."""
        users = [user("1", {"seg_id": 12}), user("2", {"seg_id": 99}), user("1", {"seg_id": 99})]
        async with reading() as reader:
            for entries in (users, users[::-1]):
                await reader.read({"rt_segment": entries})
        for applied in reader.counted.applied:
            assert (applied.totals.users, list(applied.unchanged)) == (2, [b"m:p:2"])

    def test_over_spellings_of_one_device(self) -> None:
        users = [
            user(UUID, {"seg_id": 12, "value": 1}, domain="idfa"),
            user(UUID.upper(), {"seg_id": 12, "value": 2}, domain="idfa"),
            user(UUID, {"seg_id": 12, "value": 3}, domain="aaid"),
        ]
        assert read({"rt_segment": users}).memberships == {
            ("idfa", UUID): {12: (2, DEFAULT_END)},
            ("aaid", UUID): {12: (3, DEFAULT_END)},
        }

    def test_over_external_ids_of_one_user(self) -> None:
        users = [user(name, {"seg_id": 50001, "value": value}) for value, name in enumerate(["a", "b", "A"])]
        answer = read({"rt_segment": users}, "external", {(958, "a"): "7", (958, "b"): "7"})
        assert answer.memberships == {("", "7"): {50001: (2, NOW_MS + 1440 * 60_000)}}
        assert answer.counts == (3, 3)


class TestUsersWithTheSameBlocks:
    """They are read once, and each user must still be looked at."""

    BLOCK: ClassVar = {"seg_id": 10001, "value": 1, "expiration": 10}
    MEMBERSHIP: ClassVar = {10001: (1, NOW_MS + 600_000)}

    def test_of_a_device_domain(self) -> None:
        ids = [UUID, "1", UUID.upper(), "?", UUID]
        answer = read({"rt_segment": [user(user_id, self.BLOCK, domain="idfa") for user_id in ids]})
        assert answer.messages == ["Invalid user_id: 1", "Invalid user_id: ?"]
        assert answer.memberships == {("idfa", UUID): self.MEMBERSHIP}

    def test_of_an_empty_domain_and_of_none(self) -> None:
        users = [user(str(number % 2 + 1), self.BLOCK, **{"domain": ""} if number < 4 else {}) for number in range(8)]
        answer = read({"rt_segment": users})
        assert answer.counts == (8, 8)
        assert answer.memberships == {("", "1"): self.MEMBERSHIP, ("", "2"): self.MEMBERSHIP}

    def test_of_platform_users(self) -> None:
        ids = ["1", "01", "2", UUID, "18446744073709551616", "", "3"]
        answer = read({"rt_segment": [user(user_id, self.BLOCK) for user_id in ids]})
        assert answer.messages == [
            "Invalid user_id: 01",
            f"Invalid user_id: {UUID}",
            "Invalid user_id: 18446744073709551616",
            "'user_id' is required and cannot be empty",
        ]
        assert answer.memberships == {("", user_id): self.MEMBERSHIP for user_id in ("1", "2", "3")}

    def test_of_external_ids_that_look_like_platform_ids(self) -> None:
        block = {**self.BLOCK, "seg_id": 50001}
        users = [user(user_id, block) for user_id in ("1", "2", "3", "1")]
        answer = read({"rt_segment": users}, "external", {(958, "1"): "11", (958, "3"): "13"})
        assert answer.messages == ["Unknown user_id: 2"]
        assert answer.counts == (4, 4)
        assert set(answer.memberships) == {("", "11"), ("", "13")}


def test_when_a_membership_ends(subtests: pytest.Subtests) -> None:
    for username, expiration, end in [
        ("demo", None, DEFAULT_END),
        ("external", None, NOW_MS + 1440 * 60_000),
        ("private", None, NEVER),  # the member's default is 0
        ("demo", 1, NOW_MS + 60_000),
        ("demo", 0, NEVER),
        ("demo", -1, REMOVE),
        ("demo", 525_600_000, NOW_MS + 525_600_000 * 60_000),
        ("demo", 525_600_001, NEVER),
        ("demo", 2**31 - 1, NEVER),
    ]:
        with subtests.test(username=username, expiration=expiration, end=end):
            segment_id = {"demo": 10001, "external": 50001, "private": 40001}[username]
            sent = user(UUID, {"seg_id": segment_id, "expiration": expiration}, domain="idfa")
            assert read({"rt_segment": [sent]}, username).memberships == {("idfa", UUID): {segment_id: (0, end)}}


async def test_how_long_a_membership_lasts(subtests: pytest.Subtests) -> None:
    """What the block says, else the segment, else the member; and the member's longest at most. Blocks that are known
    already last as long."""
    for default, longest, of_segment, sent, minutes in [
        (60, 0, None, None, 60),
        (60, 0, 5, None, 5),
        (60, 0, 0, None, None),  # None: for ever
        (60, 0, 5, 7, 7),
        (0, 0, 5, 0, None),
        (60, 30, None, None, 30),
        (20, 30, None, None, 20),
        (0, 30, None, None, 30),
        (60, 30, 0, None, 30),
        (60, 30, 5, None, 5),
        (60, 30, 5, 30, 30),
        (60, 30, 5, 31, 30),
        (60, 30, 5, 0, 30),
        (60, 30, 5, 2**31 - 1, 30),
        (60, 2**31 - 1, 5, 0, None),  # a thousand years are for ever
        (60, 30, 5, -1, -1),
    ]:
        with subtests.test(default=default, longest=longest, of_segment=of_segment, sent=sent, minutes=minutes):
            catalog = demo_catalog()
            member = pb_catalog.Member(id=123, default_expiration=default, longest_expiration_minutes=longest)
            segment = pb_catalog.Segment(id=12, member_id=123, expire_minutes=of_segment)
            catalog.put(
                [Record(Kind.MEMBER, member.SerializeToString()), Record(Kind.SEGMENT, segment.SerializeToString())]
            )
            end = NEVER if minutes is None else REMOVE if minutes == -1 else NOW_MS + minutes * 60_000
            async with reading(catalog) as reader:
                for _ in range(2):
                    answer = await reader.read({"rt_segment": [user("1", {"seg_id": 12, "expiration": sent})]})
                    assert answer.memberships == {("", "1"): {12: (0, end)}}


def test_the_value_of_a_membership(subtests: pytest.Subtests) -> None:
    for sent, value in [(None, 0), (0, 0), (-(2**31), -(2**31)), (2**31 - 1, 2**31 - 1)]:
        with subtests.test(sent=sent, value=value):
            answer = read({"rt_segment": [user("1", {"seg_id": 12, "value": sent})]})
            assert answer.memberships["", "1"][12][0] == value


def request_of(*users: bytes) -> Any:
    """A request of encoded users."""
    return ApplyRequest.FromString(b"".join(piece(1, user) for user in users))


class TestMalformed:
    GOOD = piece(1, b"1") + piece(2, pb.SegBlock(seg_id=12).SerializeToString())
    BLOCKS = tuple(piece(2, block) for block in (b"\x08", b"\xff\xff", b"\x12\x02\xff\xff", b"\x12\x05ab"))
    USERS = (b"\x0a", b"\x0a\x05", b"\x0a\x051", b"\x0a\x01\xff", b"\x0a\x011\x12\x05", b"\x1a\x01\xff", b"\xff")

    @pytest.mark.parametrize("malformed", BLOCKS)
    @pytest.mark.parametrize(
        "users",
        [
            lambda malformed: [TestMalformed.GOOD + malformed],
            lambda malformed: [piece(1, b"?") + malformed],
            lambda malformed: [*[TestMalformed.GOOD] * 1000, TestMalformed.GOOD + malformed],
            lambda malformed: [TestMalformed.GOOD + TestMalformed.GOOD[3:] * 100 + malformed],
            lambda malformed: [TestMalformed.GOOD, piece(1, b"2") + malformed],
        ],
        ids=["among others", "of an invalid user", "past the 1000th user", "past the 100th block", "after a good user"],
    )
    def test_a_block_fails_the_request_wherever_it_stands(
        self, users: Callable[[bytes], list[bytes]], malformed: bytes
    ) -> None:
        self.check(*users(malformed))

    def test_a_user_fails_the_request_wherever_it_stands(self, subtests: pytest.Subtests) -> None:
        for malformed in self.USERS:
            with subtests.test(malformed=malformed):
                self.check(malformed)
                self.check(self.GOOD, malformed, self.GOOD)
                self.check(*[self.GOOD] * 1000, malformed)

    def check(self, *users: bytes) -> None:
        with pytest.raises(AudienceError, match="'rt_segment' that is not a readable RtSegment") as refused:
            read(request_of(*users))
        assert refused.value.reason is Reason.SYNTAX

    def test_unknown_fields_are_ignored(self) -> None:
        block = piece(2, pb.SegBlock(seg_id=12).SerializeToString() + b"\x78\x01")
        answer = read(request_of(self.GOOD, b"\x78\x01" + self.GOOD, self.GOOD + b"\x78\x01", self.GOOD + block))
        assert answer.messages == []
        assert answer.counts == (4, 5)


def blocks(first_value: int) -> list[dict[str, Any]]:
    return [{"seg_id": 10001, "value": first_value + number, "expiration": 1440} for number in range(100)]


LONG = {
    # users, warnings
    "full of warnings": ([user("1", *[{}] * 100)] * 60, 60 * 101 + 1),
    "of lists that nobody knows": ([user(str(number + 1), *blocks(number)) for number in range(120)], 0),
    "of such lists, and a warning": ([user("", *blocks(0))] + [user("1", *blocks(each)) for each in range(120)], 1),
}


@asynccontextmanager
async def counted_turns() -> AsyncIterator[list[None]]:
    """As many as other calls had of the event loop."""
    turns: list[None] = []

    async def count() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    yield turns
    counting.cancel()


async def test_a_long_request_lets_other_calls_have_their_turn(subtests: pytest.Subtests) -> None:
    for users, warnings in LONG.values():
        with subtests.test(users=users, warnings=warnings):
            async with counted_turns() as turns:
                answer = await read_async(encoded({"rt_segment": users}))
            assert len(answer.messages) == warnings
            assert len(turns) >= 15  # ten of them are for what goes on beside the reading


async def test_long_requests_take_turns() -> None:
    """A piece of one of them, and no other, is read in a turn of the event loop."""
    request = encoded({"rt_segment": LONG["full of warnings"][0]})
    counts = []
    async with reading() as reader:
        for usernames in (["demo"], ["demo", "admin"]):
            async with counted_turns() as turns:
                await asyncio.gather(*(reader.read(request, username) for username in usernames))
            counts.append(len(turns))
    alone, both = counts
    assert both >= 1.8 * alone


async def test_long_warnings_let_other_calls_have_their_turn() -> None:
    """A user with far too many segments is shown with all of them, and so is the request."""
    request = encoded({"rt_segment": [user("?", *[{"seg_id": 10001}] * 30_000)]})
    async with counted_turns() as turns:
        answer = await read_async(request)
    assert answer.messages == ["Invalid user_id: ?", "No valid rt_segment in request."]
    shown = [len(each["entity"].get("seg_block", ())) for each in answer.response["response"]["warnings"]]
    assert shown[0] == 30_000
    assert len(turns) >= 55


LONG_LIST = 10_000
"""Blocks of a user that its member may send."""


@pytest.fixture
def of_long_lists() -> Catalog:
    """The demo catalog, whose members may send such."""
    entries = read_catalog(DEMO)
    for member in entries.members:
        member.limits.segments_per_user = LONG_LIST
    return catalog_of(entries)


@pytest.mark.parametrize("segment_id", [10001, 99], ids=["valid", "unknown"])
async def test_a_long_list_lets_other_calls_have_their_turn(of_long_lists: Catalog, segment_id: int) -> None:
    async with reading(of_long_lists) as reader:
        request = encoded({"rt_segment": [user("1", *[{"seg_id": segment_id, "expiration": 1440}] * LONG_LIST)]})
        async with counted_turns() as turns:
            answer = await reader.read(request)
    assert answer.counts == (1, LONG_LIST)
    assert len(turns) >= 14  # some of them are for what goes on beside the reading


def test_a_list_during_which_the_catalog_changed_teaches_later_requests_nothing(of_long_lists: Catalog) -> None:
    calling, known = caller("demo", of_long_lists), KnownBlocks(of_long_lists)
    users = encoded({"rt_segment": [user("1", {"seg_id": 10001}, *[{"seg_id": 10002}] * (LONG_LIST - 1))]}).users
    first, second = (Reading(of_long_lists, known, calling, NOW_MS, {}) for _ in range(2))
    turns = first.read(users)
    next(turns)
    segment = pb_catalog.Segment(id=10001, member_id=123, state=pb_catalog.SEGMENT_STATE_INACTIVE)
    of_long_lists.put([Record(Kind.SEGMENT, segment.SerializeToString())])
    assert len(list(turns)) == LONG_LIST // BLOCKS_PER_TURN - 1
    for _ in second.read(users):
        pass
    assert (len(first.warnings), len(second.warnings)) == (0, 1)


async def test_requests_that_are_read_together_let_other_calls_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_reading, "TURN_SECONDS", 0.0)
    async with reading() as reader, counted_turns() as turns:
        calling = caller("demo", reader.catalog)
        requests = [encoded({"rt_segment": [user(str(each + 1), *blocks(each))]}) for each in range(30)]
        results = await asyncio.gather(*(reader.service.apply(each, calling, float("inf")) for each in requests))
    assert [result[:2] for result in results] == [(1, 100)] * 30
    assert len(turns) >= 30


async def test_the_last_user_id_counts_even_an_empty_one() -> None:
    """Of a user that has several, as protobuf says of any field that does."""
    block = piece(2, pb.SegBlock(seg_id=10001).SerializeToString())
    users = [piece(1, b"1") + piece(1, b"") + block, piece(1, b"2") + block]
    for answer in (await read_async(request_of(*users)), await read_async(request_of(users[0]))):
        assert answer.messages[0] == "'user_id' is required and cannot be empty"
        assert ("", "1") not in answer.memberships


class TestRepeatedRequests:
    """What one request has taught does not change what the next one means."""

    BLOCK: ClassVar = {"seg_id": 10001, "expiration": 1}

    def request(self, *user_ids: str) -> dict[str, Any]:
        return {"rt_segment": [user(user_id, self.BLOCK) for user_id in user_ids]}

    async def test_ends_count_from_each_request(self, subtests: pytest.Subtests) -> None:
        for user_ids in [["1"], ["1", "2", "3"]]:
            with subtests.test(user_ids=user_ids):
                async with reading() as reader:
                    for passed_ms in (0, 1, 60_000):
                        reader.clock.ms = NOW_MS + passed_ms
                        answer = await reader.read(self.request(*user_ids))
                        expected = {10001: (0, NOW_MS + passed_ms + 60_000)}
                        assert answer.memberships == {("", user_id): expected for user_id in user_ids}
                        assert answer.counts == (len(user_ids), len(user_ids))

    async def test_every_user_is_looked_at(self) -> None:
        async with reading() as reader:
            await reader.read(self.request("1"))
            answer = await reader.read(self.request("2", "?", "2"))
            assert (list(answer.memberships), answer.counts) == ([("", "2")], (2, 2))
            assert answer.messages == ["Invalid user_id: ?"]
            device = await reader.read({"rt_segment": [user(UUID, self.BLOCK, domain="idfa")]})
            assert list(device.memberships) == [("idfa", UUID)]

    async def test_a_segment_that_was_switched_off_takes_no_more_users(self, subtests: pytest.Subtests) -> None:
        for user_ids in [["1"], ["1", "2", "3"]]:
            with subtests.test(user_ids=user_ids):
                async with reading(demo_catalog()) as reader:
                    assert len((await reader.read(self.request(*user_ids))).changes) == len(user_ids)
                    segment = pb_catalog.Segment(id=10001, member_id=123, state=pb_catalog.SEGMENT_STATE_INACTIVE)
                    reader.catalog.put([Record(Kind.SEGMENT, segment.SerializeToString())])
                    answer = await reader.read(self.request(*user_ids))
                    assert (answer.changes, answer.messages) == ({}, ["Inactive segment: 10001"] * len(user_ids))

    async def test_another_member_is_judged_by_itself(self) -> None:
        async with reading() as reader:
            for username, messages in (("demo", []), ("private", ["Unauthorized segment: 10001"]), ("demo", [])):
                assert (await reader.read(self.request("1"), username)).messages == messages
                assert (await reader.read(self.request("1", "2"), username)).messages == 2 * messages
