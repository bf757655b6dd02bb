"""What happens to every call: limits, reading, deadline, errors. Tokens are of tests/modules/sign_in/test_tokens.py."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import authentication_pb2 as auth_pb
from instantaudience_server.errors import AudienceError, Reason, unavailable
from instantaudience_server.sign_in.tokens import CERTIFICATE
from instantaudience_server.transport.calls.call import Call, body_bytes, credential, waited_seconds
from instantaudience_server.transport.calls.kinds import PublicMethod
from instantaudience_server.transport.calls.outcomes import CallError
from instantaudience_server.transport.calls.pipeline import Pipeline
from structlog.testing import capture_logs
from support.parts.pipelines import pipeline_of

USER_ID, TOKEN = "12345678900987654321", "hbapi:1001:5ec4e7:local"
LIMIT_BYTES = 1000
BODY = pb.GetMembershipsRequest(user_id=USER_ID).SerializeToString()
CALL = Call(TOKEN, "r-1", None)

Handle = Callable[[Message, Call, float], Awaitable[Message]]


@pytest.fixture
async def pipeline() -> Pipeline:
    """Public methods only: it asks nobody for tokens."""
    return pipeline_of(None, None, body_limit_bytes=LIMIT_BYTES)  # type: ignore[arg-type]


def method(handle: Handle) -> PublicMethod:
    return PublicMethod("/audience/Get", pb.GetMembershipsRequest, handle)


async def answer(request: Message, _: Call, _deadline: float) -> Message:
    return pb.UserMemberships(user_id=request.user_id)  # type: ignore[attr-defined]


def failing(error: Exception) -> PublicMethod:
    async def fail(request: Message, _: Call, deadline: float) -> Message:
        raise error

    return method(fail)


async def test_a_call_is_read_handled_and_answered(pipeline: Pipeline) -> None:
    body = await pipeline.run(method(answer), BODY, CALL)
    assert pb.UserMemberships.FromString(body).user_id == USER_ID


async def test_the_time_counts_from_when_a_call_came_in(pipeline: Pipeline) -> None:
    given = []

    async def note(request: Message, _: Call, deadline: float) -> Message:
        given.append(deadline - asyncio.get_running_loop().time())
        return pb.UserMemberships()

    await pipeline.run(method(note), BODY, Call(TOKEN, "r-1", None, waited_seconds=3.0))
    assert given == [pytest.approx(2.0, abs=0.1)]


@pytest.mark.parametrize(("remaining_seconds", "waited_seconds"), [(None, 5.1), (-0.2, 1.2), (0.0, 0.0)])
async def test_a_call_whose_time_is_over_is_not_read(
    pipeline: Pipeline, remaining_seconds: float | None, waited_seconds: float
) -> None:
    async def read(deadline: float) -> bytes:
        raise AssertionError("it was read")

    call = Call(TOKEN, "r-1", remaining_seconds, waited_seconds=waited_seconds)
    with pytest.raises(CallError) as refused:
        await pipeline.run(method(answer), read, call)
    assert refused.value.failure.code == code_pb2.UNAVAILABLE


@pytest.mark.parametrize(
    ("remaining_seconds", "budget_seconds"),
    [
        (None, 5.0),  # the caller set none: ours
        (100.0, 5.0),  # ours is the longest
        (5.05, 4.95),  # a tenth of a second is kept for the answer's way back,
        (2.0, 1.9),
        (1.0, 0.9),
        (0.5, 0.45),  # or a tenth of the time where that is less
        (0.01, 0.009),
    ],
)
async def test_a_call_has_its_callers_deadline_but_for_the_way_back(
    pipeline: Pipeline, remaining_seconds: float | None, budget_seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    given = []

    async def note(request: Message, _: Call, deadline: float) -> Message:
        given.append(deadline)
        return request

    before = loop.time()
    await pipeline.run(method(note), BODY, Call("", "", remaining_seconds))
    assert before <= given[0] - budget_seconds <= loop.time()


async def test_the_longest_body_is_taken_and_a_longer_one_is_not(pipeline: Pipeline) -> None:
    def of_bytes(length: int) -> bytes:
        body = pb.GetMembershipsRequest(user_id="x" * (length - 3)).SerializeToString()
        assert len(body) == length
        return body

    await pipeline.run(method(answer), of_bytes(LIMIT_BYTES), CALL)
    with pytest.raises(CallError, match="The request has 1001 bytes; at most 1000 are allowed") as refused:
        await pipeline.run(method(answer), of_bytes(LIMIT_BYTES + 1), CALL)
    assert refused.value.failure.code == code_pb2.RESOURCE_EXHAUSTED
    assert ("error-id", "LIMIT") in refused.value.failure.metadata


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"{}", b'{"user_id":"1"}'])
async def test_an_unreadable_body_is_a_syntax_error_that_repeats_nothing(pipeline: Pipeline, body: bytes) -> None:
    with pytest.raises(CallError) as refused:
        await pipeline.run(method(answer), body, CALL)
    failure = refused.value.failure
    assert (failure.code, failure.message) == (
        code_pb2.INVALID_ARGUMENT,
        "The request is not a readable GetMembershipsRequest",
    )


async def test_an_audience_error_is_what_its_caller_sees(pipeline: Pipeline) -> None:
    with capture_logs() as logs, pytest.raises(CallError) as failed:
        await pipeline.run(failing(unavailable("not now")), BODY, CALL)
    assert (failed.value.failure.code, failed.value.failure.message) == (code_pb2.UNAVAILABLE, "not now")
    assert [(line["event"], line["request_id"]) for line in logs] == [("call_failed", "r-1")]


@pytest.mark.parametrize("defect", [KeyError(USER_ID), ValueError(TOKEN), TimeoutError(USER_ID), OSError(USER_ID)])
async def test_a_defect_is_logged_with_its_call_and_answered_with_a_bare_text(
    pipeline: Pipeline, defect: Exception
) -> None:
    with capture_logs() as logs, pytest.raises(CallError) as failed:
        await pipeline.run(failing(defect), BODY, CALL)
    failure = failed.value.failure
    assert (failure.code, failure.message) == (code_pb2.INTERNAL, "internal error")
    (entry,) = logs
    assert entry.pop("exc_info")
    assert entry == {"event": "call_defect", "log_level": "error", "method": "audience/Get", "request_id": "r-1"}
    for secret in (USER_ID, TOKEN):
        assert secret not in str(entry)
        assert secret not in str(failure)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


@pytest.mark.parametrize("error", [KeyError(), unavailable("not now")])
@pytest.mark.parametrize("given", ["", "a name", "näme", "x" * 129])
async def test_a_call_without_a_name_gets_one(pipeline: Pipeline, given: str, error: Exception) -> None:
    """What cannot be one is in no log, and in no answer. The log has a line for each call that gets 500 or 503: its
    caller can name it."""
    with capture_logs() as logs, pytest.raises(CallError) as failed:
        await pipeline.run(failing(error), BODY, CALL._replace(request_id=given))
    (entry,) = logs
    name = str(uuid.UUID(entry["request_id"]))
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in failed.value.failure.status.details)
    assert info.metadata["request_id"] == name


async def test_a_cancelled_call_stays_cancelled(pipeline: Pipeline) -> None:
    started = asyncio.Event()

    async def hang(request: Message, _: Call, deadline: float) -> Message:
        started.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]

    call = asyncio.create_task(pipeline.run(method(hang), BODY, CALL))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_what_the_header_says_of_a_bodys_size(subtests: pytest.Subtests) -> None:
    for header, size in [
        ("", 0),
        ("0", 0),
        ("1048576", 1048576),
        ("-1", 0),
        ("1e3", 0),
        ("²", 0),
        ("9" * 10, 10**10 - 1),
        ("9" * 11, 0),
    ]:
        with subtests.test(header=header, size=size):
            assert body_bytes(header) == size


def test_what_a_caller_shows(subtests: pytest.Subtests) -> None:
    """No header stands for a certificate."""
    for authorization, certificate, shown in [
        ("token", "uri=a dns=b", "token"),
        (" ", "uri=a dns=b", f"{CERTIFICATE}a"),
        ("", "uri=- dns=b", f"{CERTIFICATE}b"),
        ("", "uri= dns=-", ""),
        ("", "uri=a", ""),
        ("", "", ""),
        (f"{CERTIFICATE}a", "", "a"),
        (CERTIFICATE, "uri=b dns=", f"{CERTIFICATE}b"),
    ]:
        with subtests.test(authorization=authorization, certificate=certificate, shown=shown):
            assert credential(authorization, certificate) == shown


def test_a_call_has_not_waited_where_the_gateways_clock_is_ahead() -> None:
    assert waited_seconds(str(time.time() + 100)) == 0.0
    assert waited_seconds("") == 0.0


def test_a_call_does_not_show_its_token() -> None:
    assert TOKEN not in repr(CALL)


async def test_an_error_without_details_of_the_request_says_which_field(pipeline: Pipeline) -> None:
    error = AudienceError(Reason.SYNTAX, "'auth.username' is required", field="username")
    sign_in = PublicMethod("/auth", auth_pb.AuthenticateRequest, failing(error).handle)
    with pytest.raises(CallError) as refused:
        await pipeline.run(sign_in, b"", CALL)
    assert b"username" in refused.value.failure.status.details[0].value
