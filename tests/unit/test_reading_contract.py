"""Reading a request gives what the contract says: its examples, and whatever else the schema admits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import contract_model, strategies
from support.clocks import NOW_MS
from support.readings import applied, encoded, read, read_async
from support.vectors import Vector, rt_segment_vectors

USERNAMES = ["demo", "external", "private"]


@pytest.mark.parametrize("vector", rt_segment_vectors(), ids=lambda vector: vector.name)
def test_examples(vector: Vector) -> None:
    answer = read(vector.request, vector.user)
    assert answer.response == vector.response
    assert answer.memberships == {
        user: {
            segment_id: (
                membership.value,
                NOW_MS + membership.expiration * 60_000 if membership.expiration > 0 else membership.expiration,
            )
            for segment_id, membership in segments.items()
        }
        for user, segments in vector.memberships.items()
    }


@settings(max_examples=150, deadline=None)
@given(
    request=strategies.requests,
    username=st.sampled_from(USERNAMES),
    segments=st.lists(strategies.segment_ids, unique=True),
)
async def test_any_request(request: dict, username: str, segments: list[int]) -> None:
    ids = strategies.EXTERNAL_IDS
    before = {
        ("", "1"): dict.fromkeys(segments, (5, 0)),
        ("idfa", strategies.UUID): dict.fromkeys(segments, (6, NOW_MS)),
    }
    before = {user: memberships for user, memberships in before.items() if memberships}
    response, after = contract_model.apply(request, before, contract_model.DEMO, username, NOW_MS, ids)
    answer = await read_async(request, username, ids)
    assert answer.response == response
    assert applied(answer.changes, before) == after


@settings(max_examples=25, deadline=None)
@given(request=strategies.requests)
async def test_a_request_that_is_only_validated_gets_the_same_answer_and_changes_nothing(request: dict) -> None:
    message = encoded(request)
    message.validate_only = True
    answer = await read_async(message)
    assert answer.response == (await read_async(request)).response
    assert answer.changes == {}
