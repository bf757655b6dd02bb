"""The JSON of bodies that pass the gateway as they are: what the native host's reader and writer make of it is what the
gateway's filters make of it."""

import random

import httpx
import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_gateway.contract.json_forms import json_forms
from instantaudience_server.transport.hosts.native import missing
from support.contract.json_bodies import BODIES, mutants
from support.contract.messages import LIMIT_BYTES
from support.gateway.running import Upstream

if reason := missing():
    pytest.skip(f"the native host cannot run here: {reason}", allow_module_level=True)

from instantaudience_native import JsonReader, JsonWriter

pytestmark = pytest.mark.process

(FORM,) = json_forms(LIMIT_BYTES)
READER = JsonReader(
    FORM.request.messages,
    FORM.request.root,
    start=FORM.start,
    depth=FORM.depth,
    rules=FORM.rules,
    empty=FORM.empty,
)
WRITER = JsonWriter(FORM.answer.messages, FORM.answer.root)


def read(body: bytes) -> pb.ApplySegmentsRequest | str:
    try:
        return pb.ApplySegmentsRequest.FromString(READER.read(body))
    except ValueError as error:
        return str(error)


async def assert_read_alike(client: httpx.AsyncClient, upstream: Upstream, body: bytes) -> None:
    upstream.calls.clear()
    answer = await client.post("/rt-segment", content=body)
    found = read(body)
    if isinstance(found, str):
        expected = {"response": {"status": "ERROR", "error_id": "SYNTAX", "error": found}}
        assert (answer.status_code, answer.json()) == (400, expected), body
    else:
        assert answer.status_code == 200, (body, answer.text)
        assert upstream.calls[0].request == found


async def test_bodies(client: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.answer = pb.ApplySegmentsResponse()
    for body in BODIES:
        await assert_read_alike(client, upstream, body)


@pytest.mark.parametrize("seed", range(3))
async def test_mutants(client: httpx.AsyncClient, upstream: Upstream, seed: int) -> None:
    upstream.answer = pb.ApplySegmentsResponse()
    for body in mutants(seed, 500):
        await assert_read_alike(client, upstream, body)


async def test_a_body_cut_off_anywhere(client: httpx.AsyncClient, upstream: Upstream) -> None:
    body = '{"rt_segment" : [{"user_id":"\\ud83d\\ude00é","seg_block":[{"seg_id":-1.5e1, "x":[null,true]}]}]}'.encode()
    for end in range(1, len(body) + 1):
        await assert_read_alike(client, upstream, body[:end])


async def test_long_bodies(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """They come to the transcoder in pieces, each of which it reads by itself; with one fault that shows nowhere."""
    user = '{"user_id":"12345","seg_block":[' + ",".join(['{"seg_id":1,"value":2,"expiration":3}'] * 100) + "]}"
    users = ",".join([user] * 20)
    for last in (user, '{"seg_block":[{"value":"x"}]}', '{"user_id":"\\ud800"}', '{"user_id":1}', "{"):
        await assert_read_alike(client, upstream, ('{"rt_segment":[' + users + "," + last + "]}").encode())


def answer_of(*warnings: pb.ApplyWarning) -> pb.ApplySegmentsResponse:
    result = pb.ApplySegmentsResult(status="OK", warnings=warnings)
    result.message.users_in_request = 2**31 - 1
    return pb.ApplySegmentsResponse(response=result)


async def assert_written_alike(client: httpx.AsyncClient, upstream: Upstream, answer: pb.ApplySegmentsResponse) -> None:
    upstream.answer = answer
    received = await client.post("/rt-segment", content="{}")
    assert received.status_code == 200
    assert received.content == WRITER.write(answer.SerializeToString())


async def test_answers(client: httpx.AsyncClient, upstream: Upstream) -> None:
    without_entity, empty = pb.ApplyWarning(), pb.ApplyWarning()
    empty.entity.SetInParent()
    for answer in [
        *(pb.ApplySegmentsResponse(), pb.ApplySegmentsResponse(response=pb.ApplySegmentsResult())),
        *(answer_of(), answer_of(without_entity, empty, pb.ApplyWarning(message="m"))),
        pb.ApplySegmentsResponse(response=pb.ApplySegmentsResult(message=pb.RequestCounts(segments_in_request=-7))),
    ]:
        await assert_written_alike(client, upstream, answer)


async def test_what_an_entity_can_hold(client: httpx.AsyncClient, upstream: Upstream) -> None:
    numbers = [0.0, -0.0, 1.0, -1.5, 2147483647, -2147483648, 1e14, 1e15, 1e16, 123456.789, 0.1, 1 / 3, 0.1 + 0.2, 1e-4]
    numbers += [1e-5, 9.5e-7, 5e-324, 1.7976931348623157e308, 123456789012345680, 1e21, 1e22, 999999999999999.9]
    chance = random.Random(1)
    numbers += [chance.uniform(-1, 1) * 10.0 ** chance.randint(-30, 30) for _ in range(500)]
    entity = Struct()
    entity.update({"": [numbers, None, True, False, "x", {}, [], {"a": {"b": [[{}]]}}]})
    await assert_written_alike(client, upstream, answer_of(pb.ApplyWarning(entity=entity)))


async def test_values_without_a_kind_are_left_out(client: httpx.AsyncClient, upstream: Upstream) -> None:
    fields = {"a": Value(), "b": Value(list_value=ListValue(values=[Value(), Value(bool_value=True)]))}
    for each in ({"a": Value()}, fields):
        await assert_written_alike(client, upstream, answer_of(pb.ApplyWarning(entity=Struct(fields=each))))


async def test_every_character(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for start in range(0, 0x110000, 0x8000):
        text = "".join(chr(code) for code in range(start, start + 0x8000) if not 0xD800 <= code < 0xE000)
        await assert_written_alike(client, upstream, answer_of(pb.ApplyWarning(message=text, entity=Struct())))
    entity = Struct()
    entity.update({"\u2028<\t\U000e0001": 'a"b\\'})
    await assert_written_alike(client, upstream, answer_of(pb.ApplyWarning(entity=entity)))


def test_what_is_no_message_is_not_written() -> None:
    message = answer_of(pb.ApplyWarning(message="é", entity=Struct())).SerializeToString()
    for end in range(1, len(message)):
        with pytest.raises(ValueError, match="no such message"):
            WRITER.write(message[:end])


def test_a_field_without_a_form_stops_the_start(subtests: pytest.Subtests) -> None:
    for held in ["BOOL", "google.protobuf.Timestamp", "nothing"]:
        with subtests.test(held=held), pytest.raises(ValueError, match=f"a: no form of {held}"):
            JsonWriter({"root": [("a", 1, False, held)]}, "root")
