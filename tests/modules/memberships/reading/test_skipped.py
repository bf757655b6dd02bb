"""Where the warnings of an answer end (contract-neighbours, "many warnings")."""

import asyncio
import time
from typing import Any

import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.memberships.reading.skipped import (
    BLOCK_MESSAGES,
    MOST_BYTES,
    MOST_WARNINGS,
    USER_MESSAGES,
)
from instantaudience_server.transport.methods.audience import apply_answer
from support.parts.readings import Read, piece, read_async

EMPTY_USERS = 349_500
"""As many as a JSON body of 1 MB holds."""
GOOD = {"user_id": "1", "seg_block": [{"seg_id": 12}]}
BAD_USERS = [{"user_id": str(number), "seg_block": [{}] * 100} for number in range(1, 102)]
MOST_TAKEN = 4 * 1024 * 1024
"""Bytes of an answer that gRPC's clients take by default."""
NO_VALID = "No valid rt_segment in request."


def warned(answer: Read) -> list[str]:
    return [warning["message"] for warning in answer.response["response"]["warnings"]]


def left_out(count: int) -> str:
    return f"{count} more warnings were left out."


def test_each_code_has_its_text() -> None:
    of_requests = {pb.WARNING_CODE_UNSPECIFIED, pb.WARNING_CODE_NO_VALID_USERS, pb.WARNING_CODE_LEFT_OUT}
    assert BLOCK_MESSAGES.keys() | USER_MESSAGES.keys() | of_requests == {*pb.WarningCode.values()}


async def test_ten_thousand_warnings_and_no_more() -> None:
    users = [GOOD, *BAD_USERS]
    answer = await read_async({"rt_segment": users})
    messages = warned(answer)
    assert len(messages) == MOST_WARNINGS + 1
    assert messages[-1] == left_out(101 * 101 - MOST_WARNINGS)
    last = answer.warnings[-1]
    assert (last.code, last.path) == (pb.WARNING_CODE_LEFT_OUT, "")
    assert answer.response["response"]["warnings"][-1]["entity"] == {}
    assert answer.counts == (1, 1)


async def test_as_many_as_there_is_room_for() -> None:
    users = [{"user_id": f"{'x' * 50_000}{number}", "seg_block": [{"seg_id": 12}]} for number in range(30)]
    messages = warned(await read_async({"rt_segment": [GOOD, *users]}))
    kept = MOST_BYTES // 100_060
    assert len(messages) == kept + 1
    assert messages[-1] == left_out(30 - kept)


async def test_all_follow_the_first_that_has_no_place() -> None:
    """The next one may be small; but those that were left out are the last."""
    large = {"user_id": "5", "seg_block": [{"seg_id": 12, "value": 1}] * 60_000}
    answer = await read_async({"rt_segment": [GOOD, {}, large, {}]})
    assert warned(answer) == ["'user_id' is required and cannot be empty", left_out(2)]


async def test_the_warning_for_the_request_comes_last() -> None:
    messages = warned(await read_async({"rt_segment": BAD_USERS}))
    assert messages[-2:] == [left_out(101 * 101 - MOST_WARNINGS), NO_VALID]


async def test_the_largest_answer_is_below_what_grpcs_clients_take() -> None:
    """Each kind of warning where it takes the most room, and the request repeated."""
    block = {"seg_id": 12, "value": -1, "expiration": -2, "member_id": 2**31 - 1, "seg_code": "€"}
    many = {"seg_block": [block] * 99}
    for users in (
        [{"user_id": f"{'€' * 60}{number}"} for number in range(5000)],
        [{"user_id": str(number), **many} for number in range(1, 101)],
        [{"user_id": "🙂" * 100_000, **many}] * 2,
    ):
        answer = await read_async({"rt_segment": users})
        assert warned(answer)[-1] == NO_VALID
        assert len(apply_answer(answer.result).SerializeToString()) < MOST_TAKEN


async def test_warnings_of_each_length() -> None:
    """From some length on, a length itself takes another byte."""
    users = [{"user_id": "x" * length, "seg_block": [{}]} for length in range(1, 200)]
    warnings = (await read_async({"rt_segment": users})).response["response"]["warnings"]
    expected = [{"message": f"Invalid user_id: {user['user_id']}", "entity": user} for user in users]
    assert warnings[:-1] == expected


async def test_entities_can_be_left_out() -> None:
    request = {"rt_segment": [GOOD, {}, *BAD_USERS[:2]], "warning_entities": "WARNING_ENTITIES_NONE"}
    answer = await read_async(request)
    assert len(answer.warnings) == 1 + 2 * 101
    for warning in answer.warnings:
        assert (warning.HasField("entity"), bool(warning.message), bool(warning.path)) == (False, True, True)


def request_of(users: list[bytes]) -> Any:
    return ApplyRequest(users, 2 * len(users))


async def test_a_request_full_of_nothing_costs_little() -> None:
    request = request_of([b""] * EMPTY_USERS)
    started = time.process_time()
    answer = await read_async(request)
    assert time.process_time() - started < 1.0
    messages = warned(answer)
    assert messages[:2] == ["'user_id' is required and cannot be empty"] * 2
    assert messages[1000] == "Too many user_ids in request."
    assert messages[-2:] == [left_out(EMPTY_USERS - MOST_WARNINGS), NO_VALID]
    assert len(answer.response["response"]["warnings"][-1]["entity"]["rt_segment"]) == MOST_WARNINGS
    assert len(apply_answer(answer.result).SerializeToString()) < MOST_BYTES


async def test_a_user_full_of_nothing_costs_little() -> None:
    """What of it could not be shown is not looked at."""
    user = piece(1, b"1") + piece(2, b"") * EMPTY_USERS
    started = time.process_time()
    answer = await read_async(request_of([user]))
    assert time.process_time() - started < 1.0
    assert warned(answer)[-2:] == [left_out(2), NO_VALID]  # the blocks past the hundredth; that none is valid
    assert answer.response["response"]["warnings"][-1]["entity"] == {}


@pytest.mark.parametrize(
    ("users", "at_once", "reason"),
    [
        (1, False, Reason.SYNTAX),
        (1, True, Reason.RATE_LIMIT_EXCEEDED),
        (EMPTY_USERS, False, Reason.RATE_LIMIT_EXCEEDED),
    ],
)
async def test_a_large_request_is_admitted_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, users: int, at_once: bool, reason: Reason
) -> None:
    """A small one is read meanwhile, unless the answer is there at once; all of these hold something that nobody can
    read, and are refused."""
    loop = asyncio.get_running_loop()
    refused = loop.create_future()
    error = AudienceError(Reason.RATE_LIMIT_EXCEEDED, "no")
    refused.set_exception(error) if at_once else loop.call_later(0.05, refused.set_exception, error)
    monkeypatch.setattr(Quotas, "ask_posts", lambda *_: refused)
    with pytest.raises(AudienceError) as failed:
        await read_async(request_of([piece(1, b"\xff")] + [b""] * users))
    assert failed.value.reason is reason


async def test_users_that_are_only_counted_must_be_readable(subtests: pytest.Subtests) -> None:
    for place in [20_000, EMPTY_USERS]:
        with subtests.test(place=place):
            users = [b""] * EMPTY_USERS
            users.insert(place, piece(1, b"\xff"))
            with pytest.raises(AudienceError, match="not a readable"):
                await read_async(request_of(users))
