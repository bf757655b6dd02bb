"""What makes a user or a block valid, and which warning is given (contract, "POST /rt-segment"): row by row."""

from typing import Any, NamedTuple

import pytest
from instantaudience.v1 import audience_pb2 as pb
from support.contract.strategies import UUID
from support.parts.readings import read

GOOD = {"seg_id": 10001}
NO_VALID = ("No valid rt_segment in request.", pb.WARNING_CODE_NO_VALID_USERS)


class Row(NamedTuple):
    """What is sent, and the warning for it: text and code."""

    sent: dict[str, Any]
    message: str
    code: pb.WarningCode


ID_REQUIRED = ("'user_id' is required and cannot be empty", pb.WARNING_CODE_USER_ID_REQUIRED)
BLOCK_REQUIRED = ("'seg_block' is required", pb.WARNING_CODE_SEG_BLOCK_REQUIRED)

USERS = [
    Row({"seg_block": [GOOD]}, *ID_REQUIRED),
    Row({"user_id": None, "seg_block": [GOOD]}, *ID_REQUIRED),
    Row({"user_id": "", "seg_block": [GOOD]}, *ID_REQUIRED),
    Row({"user_id": "5"}, *BLOCK_REQUIRED),
    Row({"user_id": "5", "seg_block": None}, *BLOCK_REQUIRED),
    Row({"user_id": "5", "seg_block": []}, *BLOCK_REQUIRED),
    Row(
        {"user_id": "5", "domain": "email", "seg_block": [GOOD]},
        "Invalid domain: email",
        pb.WARNING_CODE_INVALID_DOMAIN,
    ),
    Row({"user_id": "05", "seg_block": [GOOD]}, "Invalid user_id: 05", pb.WARNING_CODE_INVALID_USER_ID),
    # The first check that fails gives the warning.
    Row({}, *ID_REQUIRED),
    Row({"user_id": "", "domain": "email"}, *ID_REQUIRED),
    Row({"user_id": "?", "domain": "email"}, *BLOCK_REQUIRED),
    Row(
        {"user_id": "?", "domain": "email", "seg_block": [{}]}, "Invalid domain: email", pb.WARNING_CODE_INVALID_DOMAIN
    ),
    Row({"user_id": "?", "seg_block": [{}]}, "Invalid user_id: ?", pb.WARNING_CODE_INVALID_USER_ID),
]


def test_an_invalid_user_is_skipped(subtests: pytest.Subtests) -> None:
    for row in USERS:
        with subtests.test(row=row):
            good = {"user_id": "6", "seg_block": [GOOD]}
            answer = read({"rt_segment": [good, row.sent, good]})
            (warning,) = answer.warnings
            assert (warning.message, warning.code, warning.path) == (row.message, row.code, "rt_segment[1]")
            assert answer.counts == (2, 2)
            assert list(answer.memberships) == [("", "6")]


SEGMENT_REQUIRED = ("'seg_id' or 'seg_code' and 'member_id' are required", pb.WARNING_CODE_SEGMENT_REQUIRED)
AMBIGUOUS = ("'seg_id' and 'seg_code' cannot be used together", pb.WARNING_CODE_SEGMENT_AMBIGUOUS)
EXPIRATION = ("'expiration' cannot be less than -1", pb.WARNING_CODE_INVALID_EXPIRATION)
UNKNOWN, UNAUTHORIZED, INACTIVE = (
    pb.WARNING_CODE_UNKNOWN_SEGMENT,
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT,
    pb.WARNING_CODE_INACTIVE_SEGMENT,
)

INVALID_BLOCKS = [
    Row({}, *SEGMENT_REQUIRED),
    Row({"value": 3, "expiration": 5}, *SEGMENT_REQUIRED),
    Row({"seg_code": "abcd"}, *SEGMENT_REQUIRED),
    Row({"member_id": 1661}, *SEGMENT_REQUIRED),
    Row({"seg_code": "", "member_id": 1661}, *SEGMENT_REQUIRED),
    Row({"seg_id": 10001, "seg_code": "abcd"}, *AMBIGUOUS),
    Row({"seg_id": 10001, "seg_code": "abcd", "member_id": 1661}, *AMBIGUOUS),
    Row({"seg_id": 0, "seg_code": "abcd"}, *AMBIGUOUS),
    Row({"seg_id": 10001, "expiration": -2}, *EXPIRATION),
    Row({"seg_code": "abcd", "member_id": 1661, "expiration": -(2**31)}, *EXPIRATION),
    # The first check that fails gives the warning.
    Row({"expiration": -2}, *SEGMENT_REQUIRED),
    Row({"seg_id": 1, "seg_code": "x", "expiration": -2}, *AMBIGUOUS),
    Row({"seg_id": 99, "expiration": -2}, *EXPIRATION),
]

REFUSED_BLOCKS = [
    Row({"seg_id": 99}, "Invalid segment: 99", UNKNOWN),
    Row({"seg_id": 0}, "Invalid segment: 0", UNKNOWN),
    Row({"seg_id": -1, "expiration": -1}, "Invalid segment: -1", UNKNOWN),
    Row({"seg_id": 2**31 - 1, "seg_code": ""}, "Invalid segment: 2147483647", UNKNOWN),
    Row({"seg_code": "nope", "member_id": 1661}, "Invalid segment: nope of member 1661", UNKNOWN),
    Row({"seg_code": "abcd", "member_id": 0}, "Invalid segment: abcd of member 0", UNKNOWN),
    Row({"seg_code": "ABCD", "member_id": 1661}, "Invalid segment: ABCD of member 1661", UNKNOWN),
    Row({"seg_code": "abcd", "member_id": 123}, "Invalid segment: abcd of member 123", UNKNOWN),
    Row({"seg_id": 40001, "value": 2}, "Unauthorized segment: 40001", UNAUTHORIZED),
    Row({"seg_code": "secret", "member_id": 777}, "Unauthorized segment: secret of member 777", UNAUTHORIZED),
    Row({"seg_id": 30001}, "Inactive segment: 30001", INACTIVE),
    Row({"seg_code": "old_campaign", "member_id": 123}, "Inactive segment: old_campaign of member 123", INACTIVE),
    Row({"seg_id": 30001, "expiration": -1}, "Inactive segment: 30001", INACTIVE),
]


def test_an_invalid_block_is_skipped(subtests: pytest.Subtests) -> None:
    for row in INVALID_BLOCKS:
        with subtests.test(row=row):
            check_block(row, counted=False)


def test_a_block_that_the_catalog_refuses_counts_as_read_but_changes_nothing(subtests: pytest.Subtests) -> None:
    for row in REFUSED_BLOCKS:
        with subtests.test(row=row):
            check_block(row, counted=True)


def check_block(row: Row, *, counted: bool) -> None:
    answer = read({"rt_segment": [{"user_id": "5", "seg_block": [GOOD, row.sent, {"seg_id": 12}]}]})
    (warning,) = answer.warnings
    assert (warning.message, warning.code, warning.path) == (row.message, row.code, "rt_segment[0].seg_block[1]")
    assert answer.response["response"]["warnings"][0]["entity"] == row.sent
    assert answer.counts == (1, 2 + counted)
    assert set(answer.memberships["", "5"]) == {10001, 12}


def test_a_user_with_only_blocks_that_the_catalog_refuses_is_valid(subtests: pytest.Subtests) -> None:
    for row in REFUSED_BLOCKS:
        with subtests.test(row=row):
            answer = read({"rt_segment": [{"user_id": "5", "seg_block": [row.sent]}]})
            assert answer.messages == [row.message]
            assert answer.counts == (1, 1)
            assert answer.changes == {}


def test_a_user_with_only_invalid_blocks_is_skipped(subtests: pytest.Subtests) -> None:
    for row in INVALID_BLOCKS:
        with subtests.test(row=row):
            answer = read({"rt_segment": [{"user_id": "5", "seg_block": [row.sent, row.sent]}]})
            codes = [(warning.message, warning.code, warning.path) for warning in answer.warnings]
            assert codes == [
                (row.message, row.code, "rt_segment[0].seg_block[0]"),
                (row.message, row.code, "rt_segment[0].seg_block[1]"),
                ("No valid segments for user_id: 5.", pb.WARNING_CODE_NO_VALID_SEGMENTS, "rt_segment[0]"),
                (*NO_VALID, ""),
            ]
            assert answer.counts == (0, 0)


def test_a_valid_block_names_one_segment(subtests: pytest.Subtests) -> None:
    for block, segment_id in [
        ({"seg_id": 10001, "seg_code": ""}, 10001),  # an empty code counts as absent
        ({"seg_id": 10001, "seg_code": None, "member_id": None}, 10001),
        ({"seg_id": 10001, "member_id": 777}, 10001),  # a member beside an ID is ignored
        ({"seg_id": "10001"}, 10001),
        ({"seg_code": "sports_fans", "member_id": 123}, 10001),
        ({"seg_code": "abcd", "member_id": 1661}, 20001),  # of a member that lets the caller's use its segments
        ({"seg_id": 20002}, 20002),
        ({"seg_id": 12, "unknown": [1]}, 12),
    ]:
        with subtests.test(block=block, segment_id=segment_id):
            answer = read({"rt_segment": [{"user_id": "5", "seg_block": [block]}]})
            assert answer.messages == []
            assert answer.counts == (1, 1)
            assert list(answer.memberships["", "5"]) == [segment_id]


def test_an_unknown_external_user_is_said_after_its_blocks_which_the_catalog_is_not_asked_about() -> None:
    blocks = [{"seg_id": 99}, {}, {"seg_id": 40001}, {"seg_id": 50001}]
    answer = read({"rt_segment": [{"user_id": "crm-9", "seg_block": blocks}]}, "external")
    assert [(warning.message, warning.code, warning.path) for warning in answer.warnings] == [
        (*SEGMENT_REQUIRED, "rt_segment[0].seg_block[1]"),
        ("Unknown user_id: crm-9", pb.WARNING_CODE_UNKNOWN_USER_ID, "rt_segment[0]"),
    ]
    assert answer.response["response"]["warnings"][1]["entity"] == {"user_id": "crm-9", "seg_block": blocks}
    assert answer.counts == (1, 3)
    assert answer.changes == {}


def test_an_unknown_external_user_without_a_valid_block_is_skipped_for_its_blocks() -> None:
    answer = read({"rt_segment": [{"user_id": "crm-9", "seg_block": [{}]}]}, "external")
    assert answer.messages == [SEGMENT_REQUIRED[0], "No valid segments for user_id: crm-9.", NO_VALID[0]]


def test_who_may_use_whose_segments(subtests: pytest.Subtests) -> None:
    for username in ["demo", "external", "private"]:
        with subtests.test(username=username):
            may_use = {"demo": {10001, 20001, 20002}, "external": {50001}, "private": {40001}}
            for segment_id in set().union(*may_use.values()):
                user = {"user_id": UUID, "domain": "idfa", "seg_block": [{"seg_id": segment_id}]}
                allowed = segment_id in may_use[username]
                assert read({"rt_segment": [user]}, username).messages == (
                    [] if allowed else [f"Unauthorized segment: {segment_id}"]
                )


def test_every_code_is_given_somewhere() -> None:
    here = {row.code for row in (*USERS, *INVALID_BLOCKS, *REFUSED_BLOCKS)} | {
        pb.WARNING_CODE_NO_VALID_USERS,
        pb.WARNING_CODE_NO_VALID_SEGMENTS,
        pb.WARNING_CODE_UNKNOWN_USER_ID,
    }
    elsewhere = {  # test_privacy_service.py, test_reading.py, test_skipped.py
        pb.WARNING_CODE_TOO_MANY_USERS,
        pb.WARNING_CODE_TOO_MANY_SEGMENTS,
        pb.WARNING_CODE_LEFT_OUT,
        pb.WARNING_CODE_SUPPRESSED_USER_ID,
    }
    assert here | elsewhere == set(pb.WarningCode.values()) - {pb.WARNING_CODE_UNSPECIFIED}
