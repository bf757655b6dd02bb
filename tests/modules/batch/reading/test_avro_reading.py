"""Records of Avro files (contract-neighbours, "Batch Segment Service", "Avro")."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.batch.counters import Count
from support.contract.model import State
from support.parts.avro_files import SEGMENT_SCHEMA, UID_TYPES, avro_file, record, segment, user_schema
from support.parts.files import (
    EXTERNAL,
    OTHER,
    STRANGER,
    UPLOADED_MS,
    UPLOADED_S,
    UUID,
    Job,
    NotedStore,
    batch_catalog,
    end,
)

USER = 7652266028043224430
STAYS: State = {("", str(USER)): {5848: (0, 0)}}


USERS: list[tuple[Any, tuple[str, str] | None]] = [
    (USER, ("", str(USER))),
    (1, ("", "1")),
    (-1, ("", "18446744073709551615")),
    (-(2**63), ("", str(2**63))),
    (0, None),
    (("device_id", {"id": UUID, "domain": "idfa"}), ("idfa", UUID.lower())),
    (("device_id", {"id": UUID, "domain": "aaid"}), ("aaid", UUID.lower())),
    (("device_id", {"id": "0" * 40, "domain": "openudid"}), ("openudid", "0" * 40)),
    (("device_id", {"id": "5", "domain": "idfa"}), None),
    (("device_id", {"id": "0" * 40, "domain": "sha1mac"}), None),
    (("external_id", {"id": "Ann", "member_id": 0}), ("", "77")),
    (("external_id", {"id": "ann", "member_id": 1}), ("", "77")),
    (("external_id", {"id": "ann", "member_id": OTHER}), None),
    (("external_id", {"id": "nobody", "member_id": 0}), None),
    (("external_id", {"id": "", "member_id": 0}), None),
    (("eid", {"id": "1", "source": "x"}), None),
    (("ifa", {"id": UUID, "type": "aaid"}), None),
    (("xfa", {"device_model_id": 1, "device_make_id": 1, "ip": "1.2.3.4"}), None),
    (("hem", {"id": "1"}), None),
    (("aes_encrypted", {"id": b"1"}), None),
]


def tagged(uid: Any) -> Any:
    """A branch of the union, as fastavro writes it."""
    return (f"audience.files.{uid[0]}", uid[1]) if isinstance(uid, tuple) else uid


async def test_whom_a_record_means(subtests: pytest.Subtests) -> None:
    for uid, user in USERS:
        with subtests.test(uid=uid, user=user):
            job = Job(batch_catalog(), NotedStore({(1, "ann"): "77"}))
            counters = await job.run(avro_file([{"uid": tagged(uid), "segments": [segment()]}] * 2))
            assert job.store.state == ({user: {5848: (0, 0)}} if user else {})
            valid = {"num_valid": 2, "num_valid_user": 2} if user else {"num_invalid_user": 2}
            assert counters.values() == dict.fromkeys(map(str, Count), 0) | valid


async def test_error_lines_have_bytes_as_avros_json_has_them() -> None:
    """Each is the character of its number (Avro 1.12 specification, "JSON Encoding")."""
    uid = tagged(("aes_encrypted", {"id": b"a'\x00\xff"}))
    counters = await Job(batch_catalog(), NotedStore()).run(avro_file([{"uid": uid, "segments": [segment()]}]))
    count, _, line = counters.error_log_lines.partition("-")
    assert (count, json.loads(line)["uid"]) == ("num_invalid_user", {"aes_encrypted": {"id": "a'\x00\xff"}})


async def test_a_plain_uid_is_the_platforms_where_ids_are_external_too() -> None:
    store = NotedStore({(EXTERNAL, "ann"): "77"})
    job = Job(batch_catalog(), store, member_id=EXTERNAL)
    own = {"uid": tagged(("external_id", {"id": "ann", "member_id": 0})), "segments": [segment(8000)]}
    await job.run(avro_file([{"uid": 5, "segments": [segment(8000)]}, own]))
    assert store.state == {("", "5"): {8000: (0, 0)}, ("", "77"): {8000: (0, 0)}}


SEGMENTS: list[tuple[list[dict[str, Any]], dict[int, tuple[int, int]], dict[str, int]]] = [
    ([segment(), segment(5849, expiration=5, value=7)], {5848: (0, 0), 5849: (7, end(5))}, {"num_valid": 2}),
    ([segment(expiration=-2)], {5848: (0, end(30))}, {"num_valid": 1}),
    ([segment(), segment(expiration=-1)], {}, {"num_valid": 1}),
    ([segment(0, code="cars"), segment(0, code="cars", member_id=OTHER)], {5848: (0, 0), 6000: (0, 0)}, {}),
    (
        [segment(expiration=10, timestamp=UPLOADED_S - 60)],
        {5848: (0, end(10, (UPLOADED_S - 60) * 1000))},
        {"num_valid": 1},
    ),
    ([segment(expiration=1, timestamp=UPLOADED_S - 60)], {}, {"num_past_expiration": 1}),
    ([segment(), segment(5849, timestamp=UPLOADED_S + 301)], {}, {"num_invalid_timestamp": 1, "num_valid_user": 0}),
    ([segment(timestamp=UPLOADED_MS)], {}, {"num_invalid_timestamp": 1, "num_valid_user": 0}),
    ([segment(timestamp=-1)], {}, {"num_invalid_timestamp": 1, "num_valid_user": 0}),
    ([segment(1), segment(2), segment(1)], {}, {"num_invalid_segment": 2}),
    ([segment(0, code="none")], {}, {"num_invalid_segment": 1}),
    ([segment(7000), segment(5851)], {}, {"num_unauth_segment": 1, "num_inactive_segment": 1}),
    (
        [segment(7000), segment(0, code="secret", member_id=STRANGER), segment(0, code="old"), segment(5851)],
        {},
        {"num_unauth_segment": 1, "num_inactive_segment": 1},
    ),
    ([segment(0, code="none"), segment(0, code="None"), segment(1)], {}, {"num_invalid_segment": 3}),
    *(
        (segments, {}, {"num_invalid_format": 1, "num_valid_user": 0})
        for segments in (
            [],
            [segment(0)],
            [segment(-5)],
            [segment(code="cars")],
            [segment(), segment(expiration=-3)],
            [segment()] * 1801,
        )
    ),
    ([segment()] * 1800, {5848: (0, 0)}, {"num_valid": 1}),
]


@pytest.mark.parametrize("again", [1, 3])
@pytest.mark.parametrize(("segments", "memberships", "counts"), SEGMENTS, ids=lambda each: repr(each)[:60])
async def test_what_a_record_says_of_segments(
    segments: list[dict[str, Any]], memberships: dict[int, tuple[int, int]], counts: dict[str, int], again: int
) -> None:
    """A record that comes again is not decoded, and says the same."""
    job = Job(batch_catalog({"default_expiration": 30}))
    counters = await job.run(avro_file([{"uid": user, "segments": segments} for user in range(1, again + 1)]))
    expected = {("", str(user)): memberships for user in range(1, again + 1)} if memberships else {}
    assert job.store.state == expected
    once = {"num_valid": len(memberships), "num_valid_user": 1} | counts
    different = {"num_invalid_segment", "num_unauth_segment", "num_inactive_segment", "num_past_expiration"}
    counted = {name: count if name in different else count * again for name, count in once.items()}
    assert counters.values() == dict.fromkeys(map(str, Count), 0) | counted
    assert counters.num_lines == again


async def test_error_lines_show_the_record() -> None:
    records = [
        {"uid": 5, "segments": [segment(1, code="")]},
        {"uid": tagged(("hem", {"id": "x"})), "segments": [segment()]},
        {"uid": 6, "segments": []},
    ]
    counters = await Job(batch_catalog()).run(avro_file(records))
    shown = [each.partition("-") for each in counters.error_log_lines.split("\n")]
    assert [each[0] for each in shown] == ["num_invalid_segment", "num_invalid_user", "num_invalid_format"]
    assert json.loads(shown[0][2]) == records[0]
    assert json.loads(shown[1][2]) == {"uid": {"hem": {"id": "x"}}, "segments": [segment()]}
    assert shown[2][2] == '{"uid":6,"segments":[]} there is no segment'


KIND = {"name": "k", "type": "enum", "symbols": ["A", "B"]}
LONG_CODE = {"code": "x" * 60, "flag": True, "kind": "B"}
SMALL = record("segment", id="int")
NULLABLE = record(
    "user",
    uid=["long", "null"],
    segments=[
        {"type": "array", "items": [record("segment", id=["int", "null"], value=["int", "null"]), "null"]},
        "null",
    ],
)
"""As Spark writes columns that may be null."""
OTHER_SCHEMAS: list[tuple[Any, dict[str, Any], State]] = [
    (user_schema("long", SMALL), {"uid": USER, "segments": [{"id": 5848}]}, {("", str(USER)): {5848: (0, end(30))}}),
    (
        user_schema(["null", "string", "long"], SEGMENT_SCHEMA),
        {"uid": USER, "segments": [segment()]},
        STAYS,
    ),
    (user_schema(["null", "string", "long"]), {"uid": str(USER), "segments": [segment()]}, {}),
    (user_schema(["null", "long"]), {"uid": None, "segments": [segment()]}, {}),
    (
        user_schema(
            record("device_id", id="string", domain="int"),
            record("segment", value="long", id="long", expiration=["null", "int"], note="string"),
        ),
        {"uid": {"id": UUID, "domain": 3}, "segments": [{"id": 5848, "value": 3, "expiration": None, "note": "é"}]},
        {("idfa", UUID.lower()): {5848: (3, end(30))}},
    ),
    (
        user_schema(
            UID_TYPES,
            SEGMENT_SCHEMA,
            sent={"type": "long", "logicalType": "timestamp-millis"},
            tags={"type": "map", "values": "string"},
        ),
        {"uid": USER, "segments": [segment()], "sent": 5, "tags": {"a": "b"}},
        STAYS,
    ),
    (
        user_schema(
            "long",
            record("segment", code="string", flag="boolean", kind=KIND),
        ),
        {
            "uid": USER,
            "segments": [LONG_CODE, {"code": "cars", "flag": False, "kind": "A"}],
        },
        {("", str(USER)): {5848: (0, end(30))}},
    ),
    (
        user_schema("long", record("segment", id="int", size={"name": "f", "type": "fixed", "size": 3}, rate="double")),
        {"uid": USER, "segments": [{"id": 5848, "size": b"abc", "rate": 1.5}]},
        {("", str(USER)): {5848: (0, end(30))}},
    ),
    (
        NULLABLE,
        {"uid": USER, "segments": [{"id": 5848, "value": 3}, {"id": 5849, "value": None}]},
        {("", str(USER)): {5848: (3, end(30)), 5849: (0, end(30))}},
    ),
    (NULLABLE, {"uid": USER, "segments": None}, {}),
    (NULLABLE, {"uid": USER, "segments": [{"id": 5848, "value": 3}, None]}, {}),
    (
        record("user", first=SMALL, uid="long", segments={"type": "array", "items": "segment"}),
        {"uid": USER, "first": {"id": 1}, "segments": [{"id": 5848}]},
        {("", str(USER)): {5848: (0, end(30))}},
    ),
]


async def test_any_schema_with_these_names_is_taken(subtests: pytest.Subtests) -> None:
    for schema, written, state in OTHER_SCHEMAS:
        with subtests.test(schema=schema, written=written, state=state):
            for codec in ("null", "deflate"):
                job = Job(batch_catalog({"default_expiration": 30}))
                counters = await job.run(avro_file([written] * 400, schema, codec))
                assert job.failure is None
                assert job.store.state == state
                assert (counters.num_lines, counters.values()["num_valid_user"]) == (400, 400 if state else 0)


async def test_error_lines_show_segments_that_may_be_null() -> None:
    written = {"uid": 5, "segments": [{"id": 1, "value": None}, None]}
    counters = await Job(batch_catalog()).run(avro_file([written], NULLABLE))
    line = json.dumps(written, separators=(",", ":"))
    assert counters.error_log_lines == f"num_invalid_format-{line} a segment is null"


async def test_a_field_of_another_type_cannot_be_read() -> None:
    schema = user_schema("long", record("segment", id="string", code="string"))
    counters = await Job(batch_catalog()).run(avro_file([{"uid": 5, "segments": [{"id": "5848", "code": ""}]}], schema))
    assert counters.values()["num_invalid_format"] == 1


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=30))
def test_a_long_is_read_as_unsigned_bits(uids: list[int]) -> None:
    state = asyncio.run(_applied(avro_file({"uid": uid, "segments": [segment()]} for uid in uids)))
    assert state == {("", str(uid % 2**64)): {5848: (0, 0)} for uid in uids if uid}


async def _applied(content: bytes) -> State:
    job = Job(batch_catalog())
    await job.run(content)
    return job.store.state
