"""No failed call is told that it succeeded, whatever raises wherever; and it is noted, as far as that is possible."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2, status_pb2
from instantaudience_server.transport.framing import frame
from support.contract.answers import failure_of
from support.hosts.fault_app import SECRET, SERVICE
from support.hosts.running import running_host
from support.service.running import HOST_MODES
from support.wire.peer import Answer, Peer, connected, grpc_headers

OK, INVALID, INTERNAL, UNAVAILABLE = (
    code_pb2.OK,
    code_pb2.INVALID_ARGUMENT,
    code_pb2.INTERNAL,
    code_pb2.UNAVAILABLE,
)
ERROR_IDS = {INVALID: "SYNTAX", code_pb2.UNIMPLEMENTED: "SYNTAX", INTERNAL: "SYSTEM", UNAVAILABLE: "SYSTEM"}
DEFECT, NOT_NOTED = "call_defect", "outcome_not_noted"
REQUEST = frame(b"")


@pytest.fixture(scope="module", params=HOST_MODES)
async def faulty(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    """A caller of the faulty methods."""
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(running_host(request.param, "support.hosts.fault_app"))
        yield await stack.enter_async_context(connected(host.address))


async def call(peer: Peer, method: str, faults: str = "", body: bytes = REQUEST) -> Answer:
    headers = [(name, faults.encode()) for name in (b"x-faults", b"x-request-id")]
    return await peer.call(grpc_headers(f"/{SERVICE}/{method}", *headers), body)


def messages(answer: Answer) -> list[Struct]:
    data, found = bytes(answer.data), []
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        found.append(Struct.FromString(data[5:end]))
        data = data[end:]
    return found


async def noted(peer: Peer) -> dict[str, Any]:
    (told,) = messages(await call(peer, "Noted"))
    counts = [str(count) for count in told["counts"] if not str(count).startswith("Noted")]
    return {"counts": counts, "failures": int(told["failures"]), "events": list(told["events"])}


def assert_ended(answer: Answer, code: int) -> None:
    """A call ended with this code, and with the contract's details where it failed."""
    assert (answer.reset, answer.http_status, answer.grpc_status) == (None, 200, code)
    if code == OK:
        return
    ending = answer.headers | answer.trailers
    details = ending["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    failure = failure_of(status)
    assert (failure.code, failure.info.domain, failure.info.reason) == (code, "instantaudience", ERROR_IDS[code])
    assert ending["error-id"] == ERROR_IDS[code]
    assert ending["grpc-message"]
    assert SECRET not in f"{ending} {status}"


def count(method: str, code: int) -> list[str]:
    return [f"{method} {code}"]


UNARY = [
    # who raises, the code, whether metric and usage have it, the log
    ("", OK, (True, 0), []),
    ("tokens", INTERNAL, (True, 0), [DEFECT]),
    ("tokens:refused", INVALID, (True, 0), []),
    ("tokens:cancelled", UNAVAILABLE, (True, 0), []),
    ("admission", INTERNAL, (True, 1), [DEFECT]),
    ("admission:refused", INVALID, (True, 1), []),
    ("request", INTERNAL, (True, 1), [DEFECT]),
    ("service", INTERNAL, (True, 1), [DEFECT]),
    ("service:refused", INVALID, (True, 1), []),
    ("service:cancelled", UNAVAILABLE, (True, 1), []),
    ("answer", INTERNAL, (True, 1), [DEFECT]),
    ("headers", INTERNAL, (True, 0), [DEFECT]),
    ("metric", OK, (False, 0), [NOT_NOTED]),
    ("metric,log", OK, (False, 0), []),
    ("service,usage", INTERNAL, (True, 0), [DEFECT, NOT_NOTED]),
    ("service,counted", INTERNAL, (True, 0), [DEFECT, NOT_NOTED]),
    ("service:refused,usage", INVALID, (True, 0), [NOT_NOTED]),
    ("service:refused,counted", INVALID, (True, 0), [NOT_NOTED]),
    ("service:refused,counted:cancelled", INVALID, (True, 0), []),
    ("service:refused,counted,log", INVALID, (True, 0), []),
    ("service:cancelled,counted", UNAVAILABLE, (True, 0), []),
    ("service,metric", INTERNAL, (False, 1), [DEFECT, NOT_NOTED]),
    ("service,log", INTERNAL, (True, 1), []),
    ("service,describe", INTERNAL, (True, 1), [DEFECT, NOT_NOTED]),
    ("service:refused,describe", INTERNAL, (True, 1), [NOT_NOTED]),
    ("service,describe,metric,usage,log", INTERNAL, (False, 0), []),
]


@pytest.mark.parametrize(("faults", "code", "kept", "events"), UNARY, ids=[row[0] or "nobody" for row in UNARY])
@pytest.mark.parametrize("method", ["Unary", "Posted"])
async def test_a_unary_call(
    faulty: Peer, method: str, faults: str, code: int, kept: tuple[bool, int], events: list[str]
) -> None:
    """One in a task of its own, and one that needs none."""
    assert_ended(await call(faulty, method, faults), code)
    counted, failures = kept
    assert await noted(faulty) == {
        "counts": count(method, code) if counted else [],
        "failures": failures,
        "events": events,
    }


@pytest.mark.parametrize(("faults", "code"), [("", OK), ("service", INTERNAL), ("service:refused", INVALID)])
async def test_a_public_unary_call(faulty: Peer, faults: str, code: int) -> None:
    assert_ended(await call(faulty, "PublicUnary", faults), code)
    events = [DEFECT] if code == INTERNAL else []
    assert await noted(faulty) == {"counts": count("PublicUnary", code), "failures": 0, "events": events}


STREAMS = [
    # method, who raises, the stream's code, the answers' codes, usage, the log
    ("Stream", "", OK, [0, 0], 0, []),
    ("Stream", "tokens", INTERNAL, [], 0, [DEFECT]),
    ("Stream", "tokens:refused", INVALID, [], 0, []),
    ("Stream", "headers", INTERNAL, [], 0, [DEFECT]),
    ("Stream", "request", OK, [13, 13], 2, [DEFECT] * 2),
    ("Stream", "start", OK, [13, 13], 2, [DEFECT] * 2),
    ("Stream", "start:refused", OK, [3, 3], 2, []),
    ("Stream", "service", OK, [13, 13], 2, [DEFECT] * 2),
    ("Stream", "service:cancelled", OK, [14, 14], 2, []),
    ("Stream", "answer", OK, [13, 13], 2, [DEFECT] * 2),
    ("Stream", "metric", OK, [0, 0], 0, [NOT_NOTED] * 2),
    ("Stream", "service:refused,counted", OK, [3, 3], 0, [NOT_NOTED] * 2),
    ("Stream", "admission", OK, [13, 13], 2, [DEFECT] * 2),
    ("PostedStream", "", OK, [0, 0], 0, []),
    ("PostedStream", "tokens", INTERNAL, [], 0, [DEFECT]),
    ("PostedStream", "known", INTERNAL, [], 0, [DEFECT]),
    ("PostedStream", "admission", OK, [13, 13], 2, [DEFECT] * 2),
    ("PostedStream", "request", OK, [13, 13], 2, [DEFECT] * 2),
    ("PostedStream", "service", OK, [13, 13], 2, [DEFECT] * 2),
    ("PostedStream", "service:refused", OK, [3, 3], 2, []),
    ("PostedStream", "service:cancelled", OK, [14, 14], 2, []),
    ("PostedStream", "answer", OK, [13, 13], 2, [DEFECT] * 2),
    ("PostedStream", "service:refused,counted", OK, [3, 3], 0, [NOT_NOTED] * 2),
    ("Collect", "", OK, [0], 0, []),
    ("Collect", "tokens", INTERNAL, [], 0, [DEFECT]),
    ("Collect", "headers", INTERNAL, [], 0, [DEFECT]),
    ("Collect", "request", INTERNAL, [], 1, [DEFECT]),
    ("Collect", "service", INTERNAL, [], 1, [DEFECT]),
    ("Collect", "service:refused", INVALID, [], 1, []),
    ("Collect", "service:cancelled", UNAVAILABLE, [], 1, []),
    ("Collect", "answer", INTERNAL, [], 1, [DEFECT]),
    ("PublicStream", "", OK, [0, 0], 0, []),
    ("PublicStream", "request", INTERNAL, [], 0, [DEFECT]),
    ("PublicStream", "service", INTERNAL, [], 0, [DEFECT]),
    ("PublicStream", "service:refused", INVALID, [], 0, []),
    ("PublicStream", "service:cancelled", UNAVAILABLE, [], 0, []),
    ("PublicStream", "answer", INTERNAL, [], 0, [DEFECT]),
]


@pytest.mark.parametrize(
    ("method", "faults", "code", "answers", "failures", "events"),
    STREAMS,
    ids=[f"{method} {faults or 'nobody'}" for method, faults, *_ in STREAMS],
)
async def test_a_stream(
    faulty: Peer, method: str, faults: str, code: int, answers: list[int], failures: int, events: list[str]
) -> None:
    answer = await call(faulty, method, faults, REQUEST * 2)
    assert_ended(answer, code)
    assert [int(each["code"]) if "code" in each else 0 for each in messages(answer)] == answers
    counts = [f"{method} {each}" for each in answers] + (count(method, code) if code != OK else [])
    assert await noted(faulty) == {
        "counts": counts if "metric" not in faults else [],
        "failures": failures,
        "events": events,
    }


@pytest.mark.parametrize(
    ("method", "faults"), [("StrictStream", "service"), ("Stream", "service,refuse"), ("StrictStream", "start")]
)
async def test_a_stream_whose_failures_have_no_place_in_it(faulty: Peer, method: str, faults: str) -> None:
    answer = await call(faulty, method, faults)
    assert_ended(answer, INTERNAL)
    assert messages(answer) == []
    told = await noted(faulty)
    assert told["failures"] == 1
    assert set(told["counts"]) == set(count(method, INTERNAL))


async def test_a_method_that_there_is_not(faulty: Peer) -> None:
    assert_ended(await call(faulty, "None"), code_pb2.UNIMPLEMENTED)
    assert (await noted(faulty))["counts"] == count("unknown", code_pb2.UNIMPLEMENTED)
