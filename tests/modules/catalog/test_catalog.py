"""What a worker knows of the catalog: lookups, pages, and what changes leave behind."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.admission.quotas import Limits
from instantaudience_server.catalog import catalog, segment_table
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.catalog import Account, Catalog, Member, Role, Segment
from instantaudience_server.catalog.records import Object
from instantaudience_server.catalog.segment_table import SegmentTable
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.catalog import Kind, Record

INACTIVE = pb.SEGMENT_STATE_INACTIVE
SEGMENTS = [
    pb.Segment(id=10, member_id=1, code="Cars", short_name="People with cars"),
    pb.Segment(id=20, member_id=1, code="bikes", short_name="Fahrräder", state=INACTIVE, last_modified={"seconds": 7}),
    pb.Segment(id=30, member_id=1, short_name="without a code"),
    pb.Segment(id=40, member_id=2, code="Cars", short_name="Straße", last_modified={"seconds": 8}),
    pb.Segment(id=2**31 - 1, member_id=2, code="ÄPFEL", description="cars"),
]


def record(message: Object) -> Record:
    return Record(catalog_records.kind_of(message), catalog_records.encode(message))


def records(messages: Iterable[Object]) -> list[Record]:
    return [record(message) for message in messages]


@pytest.fixture
def known() -> Catalog:
    """Holds SEGMENTS."""
    return Catalog(records(SEGMENTS))


class TestMembers:
    def test_a_member_is_what_its_message_says(self, subtests: pytest.Subtests) -> None:
        for message, member in [
            (pb.Member(id=1, name="One"), Member(1, "One", 0, frozenset({1}), None, Limits())),
            (
                pb.Member(id=1, name="One", default_expiration=60, segment_access=[2, 3]),
                Member(1, "One", 60, frozenset({1, 2, 3}), None, Limits()),
            ),
            (
                pb.Member(id=1, name="One", use_external_uids=True),
                Member(1, "One", 0, frozenset({1}), 1, Limits()),
            ),
            (
                pb.Member(id=1, name="One", use_external_uids=True, external_member_uid=7),
                Member(1, "One", 0, frozenset({1}), 7, Limits()),
            ),
            (
                pb.Member(id=1, name="One", limits=pb.Limits(posts_per_second=5, body_bytes=1)),
                Member(1, "One", 0, frozenset({1}), None, Limits(posts_per_second=5, body_bytes=1)),
            ),
            (
                pb.Member(id=1, name="One", durability=pb.DURABILITY_DISK),
                Member(1, "One", 0, frozenset({1}), None, Limits(), durability=Durability.DISK),
            ),
        ]:
            with subtests.test(message=message, member=member):
                assert Catalog([record(message)]).members == {1: member}

    def test_every_limit_can_be_set(self) -> None:
        names = [field.name for field in fields(Limits)]
        assert names == [field.name for field in pb.Limits.DESCRIPTOR.fields]
        limits = pb.Limits(**dict.fromkeys(names, 77))
        (member,) = Catalog([record(pb.Member(id=1, limits=limits))]).members.values()
        assert member.limits == Limits(*[77] * len(names))

    def test_a_removed_member_is_gone(self) -> None:
        catalog = Catalog([record(pb.Member(id=1)), record(pb.Member(id=2))])
        catalog.remove(Kind.MEMBER, 1)
        catalog.remove(Kind.MEMBER, 3)
        assert list(catalog.members) == [2]


class TestAccounts:
    def test_an_account_is_what_its_message_says(self) -> None:
        messages = [
            pb.User(id=1, username="ann", member_id=7),
            pb.User(id=2, username="Ann", member_id=7, role=pb.ROLE_ADMIN, deactivated=True, token_generation=3),
        ]
        catalog = Catalog(records(messages))
        assert catalog.accounts == {
            1: Account(1, "ann", 7, True, Role.MEMBER, 0),
            2: Account(2, "Ann", 7, False, Role.ADMIN, 3),
        }

    def test_a_name_in_certificates_is_of_the_one_account_that_has_it(self) -> None:
        def user(user_id: int, *names: str) -> Record:
            return record(pb.User(id=user_id, username=str(user_id), certificate_names=names))

        def owners(catalog: Catalog) -> list[int | None]:
            found = map(catalog.account_by_certificate, "abc")
            return [None if account is None else account.id for account in found]

        catalog = Catalog([user(1, "a", "b"), user(2)])
        assert owners(catalog) == [1, 1, None]
        catalog.put([user(1, "b")])
        assert owners(catalog) == [None, 1, None]
        catalog.put([user(2, "b", "c")])
        assert owners(catalog) == [None, None, 2]
        for _ in range(2):
            catalog.remove(Kind.USER, 2)
            assert owners(catalog) == [None, 1, None]
            assert list(catalog.accounts) == [1]


class TestSegments:
    def test_a_segment_is_found_by_its_id(self, known: Catalog) -> None:
        for _ in range(2):
            assert known.segment(10) == Segment(10, 1, "Cars", True)
            assert known.segment(20) == Segment(20, 1, "bikes", False)
            assert known.segment(30) == Segment(30, 1, None, True)
            assert [known.segment(number) for number in (0, -1, 11, -(2**31))] == [None] * 4

    def test_a_segment_is_found_by_its_member_and_code_with_its_case(self, known: Catalog) -> None:
        cases = {(1, "Cars"): 10, (2, "Cars"): 40, (2, "ÄPFEL"): 2**31 - 1}
        others = [(1, "cars"), (1, ""), (3, "Cars"), (2, "äpfel"), (1, "Car"), (1, "Cars\0"), (0, "Cars")]
        for _ in range(2):
            for (member_id, code), segment_id in cases.items():
                assert known.segment_by_code(member_id, code) == known.segment(segment_id)
            assert [known.segment_by_code(*other) for other in others] == [None] * len(others)

    @pytest.mark.parametrize("looked_up", [True, False], ids=["in use", "not in use"])
    def test_a_change_is_seen_at_once(self, known: Catalog, looked_up: bool) -> None:
        if looked_up:
            assert known.segment_by_code(1, "Cars") == known.segment(10)
        known.put([record(pb.Segment(id=10, member_id=1, code="Autos", state=INACTIVE))])
        assert known.segment(10) == known.segment_by_code(1, "Autos") == Segment(10, 1, "Autos", False)
        assert known.segment_by_code(1, "Cars") is None
        known.put([record(pb.Segment(id=10, member_id=1))])
        assert known.segment(10) == Segment(10, 1, None, True)
        assert known.segment_by_code(1, "Autos") is None

    @pytest.mark.parametrize("looked_up", [True, False], ids=["in use", "not in use"])
    def test_a_removed_segment_is_gone_at_once(self, known: Catalog, looked_up: bool) -> None:
        if looked_up:
            assert known.segment_by_code(1, "Cars") == known.segment(10)
        known.remove(Kind.SEGMENT, 10)
        known.remove(Kind.SEGMENT, 11)
        assert (known.segment(10), known.segment_by_code(1, "Cars")) == (None, None)
        assert (known.count_segments(), known.count_segments(1)) == (4, 2)

    def test_a_code_goes_from_one_segment_to_another(self, known: Catalog) -> None:
        assert known.segment_by_code(1, "Cars") == known.segment(10)
        new = [pb.Segment(id=10, member_id=1, code="old"), pb.Segment(id=11, member_id=1, code="Cars")]
        known.put(records(new))
        assert known.segment_by_code(1, "Cars") == known.segment(11) == Segment(11, 1, "Cars", True)
        assert known.segment_by_code(1, "old") == known.segment(10)

    def test_what_is_kept_decoded_is_bounded(self, known: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog, "MOST_HOT_SEGMENTS", 3)
        known.put(records(pb.Segment(id=number, member_id=3, code=f"c{number}") for number in range(100, 200)))
        for state in (pb.SEGMENT_STATE_ACTIVE, pb.SEGMENT_STATE_INACTIVE):
            for number in range(100, 200):
                expected = Segment(number, 3, f"c{number}", state == pb.SEGMENT_STATE_ACTIVE)
                assert known.segment_by_code(3, f"c{number}") == known.segment(number) == expected
                assert len(known._hot_by_code) <= len(known._hot) <= 3
            known.put(
                records(
                    pb.Segment(id=number, member_id=3, code=f"c{number}", state=pb.SEGMENT_STATE_INACTIVE)
                    for number in range(100, 200)
                )
            )

    def test_a_segment_may_come_twice_in_one_batch(self, known: Catalog) -> None:
        known.put(records([pb.Segment(id=5, member_id=1, code="a"), pb.Segment(id=5, member_id=1, code="b")]))
        assert known.segment(5) == Segment(5, 1, "b", True)
        assert known.count_segments(1) == 4


class TestPages:
    CASES: list[tuple[dict[str, Any], list[int]]] = [  # noqa: RUF012
        ({}, [10, 20, 30, 40, 2**31 - 1]),
        ({"member_id": 1}, [10, 20, 30]),
        ({"member_id": 3}, []),
        ({"ids": [40, 10, 11]}, [10, 40]),
        ({"ids": []}, []),
        ({"member_id": 1, "ids": [40, 10, 11]}, [10]),
        ({"code": "Cars"}, [10, 40]),
        ({"code": "cars"}, []),
        ({"member_id": 2, "code": "Cars"}, [40]),
        ({"member_id": 2, "code": "Cars", "ids": [10]}, []),
        ({"search": "CARS"}, [10, 40]),
        ({"search": "e with c"}, [10]),
        ({"search": "FAHRRÄDER"}, [20]),
        ({"search": "strasse"}, [40]),
        ({"search": "äpfel"}, [2**31 - 1]),
        ({"search": "%"}, []),
        ({"search": "\n"}, []),
        ({"search": "with", "member_id": 1}, [10, 30]),
        ({"search": "cars", "ids": [40, 30]}, [40]),
        ({"search": "people", "code": "Cars"}, [10]),
        ({"search": "40"}, [40]),
        ({"search": "0"}, [10, 20, 30, 40]),
        ({"active": False}, [20]),
        ({"active": True, "member_id": 1}, [10, 30]),
        ({"active": False, "ids": [10, 20]}, [20]),
        ({"modified_since": 7}, [20, 40]),
        ({"modified_since": 8, "search": "strasse"}, [40]),
        ({"modified_since": 9}, []),
    ]

    @pytest.fixture(params=["few", "many"])
    def pages_of(self, request: pytest.FixtureRequest, known: Catalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
        """Holds SEGMENTS, and takes them for few or for many."""
        if request.param == "many":
            monkeypatch.setattr(catalog, "FEW_SEGMENTS", 0)
            for module in (catalog, segment_table):
                monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
        return known

    @pytest.mark.parametrize(("conditions", "ids"), CASES, ids=[str(conditions) for conditions, _ in CASES])
    async def test_pages_are_what_fits_in_the_order_of_ids(
        self, pages_of: Catalog, conditions: dict[str, Any], ids: list[int]
    ) -> None:
        for skip in range(len(ids) + 2):
            for limit in range(1, len(ids) + 2):
                page = await pages_of.page_of_segments(**conditions, skip=skip, limit=limit)
                assert ([each.id for each in page.segments], page.total) == (ids[skip : skip + limit], len(ids))
        for after_id in [0, *ids]:
            page = await pages_of.page_of_segments(**conditions, after_id=after_id, limit=10)
            assert [each.id for each in page.segments] == [each for each in ids if each > after_id]

    @pytest.mark.parametrize("field", segment_table.SORTS)
    async def test_pages_in_another_order(self, pages_of: Catalog, field: str) -> None:
        """The page after a page, in both directions, whatever is the same."""
        for number in range(50, 60):
            pages_of.put([record(pb.Segment(id=number, member_id=number % 3 + 1, expire_minutes=number % 4))])
        for number, (code, name) in enumerate(
            [("z\na", "m"), ("b\0y", "c"), ("c", "d"), ("b\0x", "a\n"), ("b", "a\0")], 60
        ):
            pages_of.put([record(pb.Segment(id=number, member_id=1, code=code, short_name=name))])

        def key(segment: pb.Segment) -> tuple[Any, int]:
            keys = {
                "code": segment.code.casefold(),
                "state": segment.state == pb.SEGMENT_STATE_INACTIVE,
                "short_name": segment.short_name.casefold(),
                "expire_minutes": segment.expire_minutes if segment.HasField("expire_minutes") else -1,
                "last_modified": segment.last_modified.seconds,
            }
            return keys.get(field, getattr(segment, field)), segment.id

        everything = (await pages_of.page_of_segments(limit=100)).segments
        for descending in (False, True):
            expected = [each.id for each in sorted(everything, key=key, reverse=descending)]
            order = segment_table.Order(field, descending)
            pages = [await pages_of.page_of_segments(order=order, skip=skip, limit=4) for skip in range(0, 20, 4)]
            assert [each.id for page in pages for each in page.segments] == expected
            assert {page.total for page in pages} == {len(expected)}
            found = await pages_of.page_of_segments(order=order, ids=[10, 40, 50], limit=2)
            assert [each.id for each in found.segments] == [each for each in expected if each in (10, 40, 50)][:2]

    async def test_segments_come_as_callers_see_them(self, pages_of: Catalog) -> None:
        (found,) = (await pages_of.page_of_segments(search="fahrräder", limit=5)).segments
        assert found.etag == catalog_records.etag_of(catalog_records.encode(SEGMENTS[1]))
        found.ClearField("etag")
        assert found == SEGMENTS[1]
        one, all_of_them = [await pages_of.page_of_segments(ids=ids, limit=5) for ids in ([20], None)]
        assert one.segments == all_of_them.segments[1:2]

    async def test_other_calls_run_during_a_long_search(self, monkeypatch: pytest.MonkeyPatch) -> None:
        many = Catalog(records(pb.Segment(id=number, member_id=1, short_name="x") for number in range(1, 3001)))
        for module in (catalog, segment_table):
            monkeypatch.setattr(module, "ROWS_AT_ONCE", 500)
        search = asyncio.create_task(many.page_of_segments(search="X", limit=1))
        turns = 0
        while not search.done():
            await asyncio.sleep(0)
            turns += 1
            many.put([record(pb.Segment(id=turns, member_id=1, short_name="y"))])
        assert turns >= 6
        assert {each.short_name for each in (await search).segments} <= {"x"}

    async def test_other_calls_run_while_a_late_page_is_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As often for what stands before the page as for what it is found in: nothing is sorted, nor freed, as a
        whole."""
        order = segment_table.Order("short_name", descending=True)
        names = random.sample(range(10_000, 100_000), 3000)
        many = Catalog(
            records(pb.Segment(id=1 + at, member_id=1, short_name=str(name)) for at, name in enumerate(names))
        )
        for module in (catalog, segment_table):
            monkeypatch.setattr(module, "ROWS_AT_ONCE", 500)
        monkeypatch.setattr(catalog, "MERGED_AT_ONCE", 100)
        search = asyncio.create_task(many.page_of_segments(order=order, skip=2950, limit=100))
        turns = 0
        while not search.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 6 + 30 + 6
        found = [int(each.short_name) for each in (await search).segments]
        assert found == sorted(names, reverse=True)[2950:]
        beyond = await many.page_of_segments(order=order, skip=2**31 - 1, limit=100)
        assert (beyond.segments, beyond.total) == ([], 3000)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("member_id", [None, 1])
    async def test_other_calls_run_while_a_late_page_is_counted_to(
        self, monkeypatch: pytest.MonkeyPatch, descending: bool, member_id: int | None
    ) -> None:
        """In the order of IDs, nothing has to be searched; to skip a million still took the event loop for 0.25 s."""
        ids = range(1, 3001)
        many = Catalog(records(pb.Segment(id=number, member_id=1 + number % 2) for number in ids))
        for module in (catalog, segment_table):
            monkeypatch.setattr(module, "ROWS_AT_ONCE", 100)
        expected = [each for each in ids if member_id is None or each % 2 == 0]
        for skip in (0, 99, 100, 101, 1000, len(expected) - 2, len(expected), 2**31 - 1):
            order = segment_table.Order("id", descending)
            page = asyncio.create_task(many.page_of_segments(order=order, skip=skip, limit=3, member_id=member_id))
            turns = 0
            while not page.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns >= min(skip, len(expected)) // 100
            found = [each.id for each in (await page).segments]
            assert found == sorted(expected, reverse=descending)[skip : skip + 3]
            assert (await page).total == len(expected)


class TestReplacing:
    def test_a_catalog_holds_what_another_one_holds(self, known: Catalog) -> None:
        assert known.segment_by_code(1, "Cars") == known.segment(10)
        known.put(records([pb.Member(id=1), pb.User(id=1, username="ann")]))
        version = known.version
        known.replace(Catalog(records([pb.Member(id=2), pb.Segment(id=10, member_id=2, code="new")])))
        assert (list(known.members), known.accounts) == ([2], {})
        assert known.segment(10) == known.segment_by_code(2, "new") == Segment(10, 2, "new", True)
        assert [known.segment(20), known.segment_by_code(1, "Cars")] == [None, None]
        assert (known.count_segments(), known.count_segments(1)) == (1, 0)
        assert known.version > version

    def test_every_change_makes_a_version(self, known: Catalog) -> None:
        versions = [known.version]
        for change in (
            lambda: known.put([record(pb.Member(id=1))]),
            lambda: known.put([record(pb.User(id=1, username="ann"))]),
            lambda: known.put([record(SEGMENTS[0])]),
            lambda: known.remove(Kind.SEGMENT, 10),
            lambda: known.remove(Kind.USER, 1),
            lambda: known.replace(Catalog()),
        ):
            change()
            versions.append(known.version)
        assert versions == sorted(set(versions))


class TestBuildingATable:
    async def test_a_table_that_was_filled_first_is_like_one_that_followed(self, subtests: pytest.Subtests) -> None:
        for repeated in [0, 1, 500]:
            with subtests.test(repeated=repeated):
                messages = [pb.Segment(id=number, member_id=number % 7, code=f"c{number}") for number in range(1, 1001)]
                random.Random(1).shuffle(messages)
                older = [pb.Segment(id=each.id, member_id=each.member_id, code="older") for each in messages[:repeated]]
                table = SegmentTable()
                for part in (older, messages[:300], messages[300:]):
                    table.add(catalog_records.encode(each) for each in part)
                table.index()
                built, followed = Catalog(segments=table), Catalog(records(messages))
                assert await built.page_of_segments(limit=2000) == await followed.page_of_segments(limit=2000)
                for member_id in (None, *range(7)):
                    assert built.count_segments(member_id) == followed.count_segments(member_id)
                assert (
                    built.segment_by_code(5, "c12") == followed.segment_by_code(5, "c12") == Segment(12, 5, "c12", True)
                )
                assert built.segment_by_code(5, "older") is None


ids = st.integers(1, 6)
codes = st.sampled_from(["", "a", "A", "b"])
steps = st.lists(st.tuples(ids, st.integers(1, 2), codes, st.booleans()), max_size=30)


@given(steps)
def test_lookups_agree_with_a_plain_dictionary(changes: list[tuple[int, int, str, bool]]) -> None:
    """Whatever changes and whatever was looked up before; a segment's member may change here, unlike in the service."""
    catalog, expected = Catalog(), dict[int, Segment]()
    for segment_id, member_id, code, is_removed in changes:
        if is_removed:
            catalog.remove(Kind.SEGMENT, segment_id)
            expected.pop(segment_id, None)
        else:
            catalog.put([record(pb.Segment(id=segment_id, member_id=member_id, code=code or None))])
            expected[segment_id] = Segment(segment_id, member_id, code or None, True)
        assert catalog.unknown(range(7)) == set(range(7)) - expected.keys()
        assert {number: catalog.segment(number) for number in range(1, 7)} == {
            number: expected.get(number) for number in range(1, 7)
        }
        for member, text in [(1, "a"), (1, "A"), (2, "a"), (2, "b")]:
            having = [each for each in expected.values() if (each.member_id, each.code) == (member, text)]
            found = catalog.segment_by_code(member, text)
            assert found in having if having else found is None
        assert catalog.count_segments() == len(expected)
        assert catalog.count_segments(1) == sum(each.member_id == 1 for each in expected.values())
