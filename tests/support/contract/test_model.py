"""Tests the model that other tests rely on against the contract's own examples."""

import pytest

from support.clocks import NOW_MS
from support.contract import model
from support.contract.vectors import rt_segment_vectors


def test_gives_the_examples_answers(subtests: pytest.Subtests) -> None:
    for vector in rt_segment_vectors():
        with subtests.test(vector=vector):
            before: model.State = {
                user: dict.fromkeys(segments, (99, 7)) for user, segments in vector.memberships.items()
            }
            response, after = model.apply(vector.request, before, model.DEMO, vector.user, NOW_MS)
            assert response == vector.response
            expected = {
                user: {
                    segment_id: (
                        membership.value,
                        NOW_MS + membership.expiration * 60_000 if membership.expiration else 0,
                    )
                    for segment_id, membership in segments.items()
                    if membership.expiration != -1
                }
                for user, segments in vector.memberships.items()
            }
            assert after == {user: segments for user, segments in expected.items() if segments}


def test_refuses_what_is_no_request(subtests: pytest.Subtests) -> None:
    for request_body in [
        [],
        {"rt_segment": {}},
        {"rt_segment": [[]]},
        {"rt_segment": [{"user_id": 5}]},
        {"rt_segment": [{"user_id": "5", "domain": 0}]},
        {"rt_segment": [{"user_id": "5", "seg_block": "x"}]},
        {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": "x"}]}]},
        {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": 2**31}]}]},
        {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": -(2**31) - 1}]}]},
        {"rt_segment": [{"user_id": "5", "seg_block": [{"value": 1.5}]}]},
        {"rt_segment": [{"user_id": "5", "seg_block": [{"value": True}]}]},
        {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_code": 7}]}]},
    ]:
        with subtests.test(request_body=request_body), pytest.raises(model.UnreadableError):
            model.apply(request_body, {}, model.DEMO, "demo", NOW_MS)


def test_reads_back_what_the_caller_may_see() -> None:
    state: model.State = {("", "5"): {40001: (1, 0), 10001: (3, NOW_MS + 60_001), 12: (0, 0), 10002: (1, NOW_MS)}}
    response = model.read("5", None, state, model.DEMO, "demo", NOW_MS)
    assert response == {
        "response": {
            "status": "OK",
            "rt_segment": [
                {
                    "user_id": "5",
                    "seg_block": [
                        {"seg_id": 12, "member_id": 123, "value": 0, "expiration": 0},
                        {"seg_id": 10001, "seg_code": "sports_fans", "member_id": 123, "value": 3, "expiration": 2},
                    ],
                }
            ],
        }
    }
