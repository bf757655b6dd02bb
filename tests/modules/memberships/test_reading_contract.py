"""Reading a request gives what the contract says: its examples, and whatever else the schema admits."""

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.memberships.reading.requests import ApplyRequest
from support.clocks import NOW_MS
from support.contract import model, strategies
from support.contract.vectors import rt_segment_vectors
from support.parts.readings import applied, encoded, piece, read, read_async

USERNAMES = ["demo", "external", "private"]


def test_examples(subtests: pytest.Subtests) -> None:
    for vector in rt_segment_vectors():
        with subtests.test(vector=vector):
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
    response, after = model.apply(request, before, model.DEMO, username, NOW_MS, ids)
    answer = await read_async(request, username, ids)
    assert answer.response == response
    assert applied(answer.changes, before) == after


@given(request=strategies.requests)
async def test_a_request_that_is_only_validated_gets_the_same_answer_and_changes_nothing(request: dict) -> None:
    message = encoded(request)
    message.validate_only = True
    answer = await read_async(message)
    assert answer.response == (await read_async(request)).response
    assert answer.changes == {}


def oddly_encoded(user: dict, data: st.DataObject) -> bytes:
    """A user as only a hand-made client writes it: fields in any order, in several pieces, with unknown ones."""
    message = ParseDict({**user, "seg_block": []}, pb.RtSegment())
    pieces = [piece(2, ParseDict(block, pb.SegBlock()).SerializeToString()) for block in user["seg_block"]]
    for number, value in ((1, message.user_id), (3, message.domain)):
        decoys = data.draw(st.lists(st.sampled_from(["1", "idfa", ""]), max_size=1))  # of several, the last one counts
        for text in [*decoys, value] if message.HasField(pb.RtSegment.DESCRIPTOR.fields_by_number[number].name) else []:
            place = data.draw(st.integers(0, len(pieces)))
            last = max((index + 1 for index, other in enumerate(pieces) if other[0] == number << 3 | 2), default=0)
            pieces.insert(max(place, last), piece(number, text.encode()))
    if data.draw(st.booleans()):
        pieces.insert(data.draw(st.integers(0, len(pieces))), b"\x78\x01")
    return b"".join(pieces)


@given(data=st.data(), blocks=st.lists(st.just({"seg_id": 10001, "value": 1}) | strategies.blocks, max_size=2))
async def test_a_request_means_the_same_however_it_is_encoded(data: st.DataObject, blocks: list[dict]) -> None:
    ids = st.fixed_dictionaries({"user_id": strategies.user_ids}, optional={"domain": strategies.domains})
    users = [{**user, "seg_block": blocks} for user in data.draw(st.lists(ids, min_size=2, max_size=6))]
    response, after = model.apply({"rt_segment": users}, {}, model.DEMO, "demo", NOW_MS)
    encodings = (
        (data.draw(st.booleans()) and ParseDict(user, pb.RtSegment()).SerializeToString()) or oddly_encoded(user, data)
        for user in users
    )
    message = ApplyRequest.FromString(b"".join(piece(1, encoding) for encoding in encodings))
    answer = await read_async(message)
    assert answer.response == response
    assert applied(answer.changes, {}) == after
