"""How long the Python client waits before it sends a call again."""

import re

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from instantaudience import (
    AudienceError,
    InternalError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitedError,
    Retries,
    UnavailableError,
)
from instantaudience.errors import of_call

FIRST, MOST = 0.1, 5.0


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


@given(st.integers(0, 2000), st.none() | st.floats(0.0, 100.0), st.sampled_from([UnavailableError, RateLimitedError]))
def test_pauses_grow_and_begin_where_the_service_asks(
    attempt: int, asked: float | None, kind: type[AudienceError]
) -> None:
    """The longest of the random pauses, and the shortest."""
    error = kind("busy", retry_after_seconds=asked)
    longest, shortest = (
        Retries(first_seconds=FIRST, most_seconds=MOST, uniform=chosen).wait_seconds(error, attempt)
        for chosen in (max, min)
    )
    assert shortest == (asked or 0.0)
    assert longest == (asked or 0.0) + min(MOST, FIRST * 2 ** min(attempt, 10))


def test_what_does_not_help_is_not_sent_again(subtests: pytest.Subtests) -> None:
    for kind in [InvalidRequestError, InternalError]:
        with subtests.test(kind=kind):
            assert Retries().wait_seconds(kind("no"), 0) is None


def test_no_time_is_below_0_and_an_attempt_takes_some(subtests: pytest.Subtests) -> None:
    for times, rule in [
        ({"first_seconds": -1.0}, "first_seconds is -1.0: a pause is 0 at least"),
        ({"most_seconds": float("nan")}, "most_seconds is nan: a pause is 0 at least"),
        ({"attempt_seconds": 0.0}, "attempt_seconds is 0.0: an attempt takes more than 0"),
    ]:
        with subtests.test(times=times, rule=rule), pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            Retries(**times)


def test_an_error_is_told_by_its_code_whatever_its_details_say(subtests: pytest.Subtests) -> None:
    for details, reason in [
        (b"\xff", ""),
        (b"", ""),
        (status_pb2.Status(code=14, details=[Any(type_url="x/google.rpc.ErrorInfo", value=b"\xff")]), ""),
        (status_pb2.Status(code=14, details=[_packed(error_details_pb2.ErrorInfo(reason="UNAUTH"))]), "UNAUTH"),
    ]:
        with subtests.test(details=details, reason=reason):
            sent = details if isinstance(details, bytes) else details.SerializeToString()
            trailing = grpc.aio.Metadata(("grpc-status-details-bin", sent))
            failure = grpc.aio.AioRpcError(grpc.StatusCode.PERMISSION_DENIED, grpc.aio.Metadata(), trailing, "no")
            error = of_call(failure, "7")
            assert (type(error), error.message, error.reason) == (PermissionDeniedError, "no", reason)
