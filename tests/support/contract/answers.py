"""Errors as callers see them (source: contract, "Errors")."""

import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

WAITING_HELPS = {429, 503}
GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
"""By their numbers."""


def body_of(answer: httpx.Response) -> Any:
    """The JSON of an answer; every number in it must be an integer, as it stands."""
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.content, parse_float=_refuse)


def assert_http_error(
    answer: httpx.Response, status: int, error_id: str, text: str | None = None, *, error_code: str | None = None
) -> None:
    """The contract's form; `text` is what the error must say, `error_code` what stands beside its ID (of a 429, always
    the same)."""
    assert answer.status_code == status, answer.text
    body = body_of(answer)
    error = body["response"]["error"]
    expected = {"status": "ERROR", "error_id": error_id, "error": error}
    if error_code := "RATE_EXCEEDED" if status == 429 else error_code:
        expected["error_code"] = error_code
    assert body == {"response": expected}
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert error
    assert text in {None, error}
    assert ("retry-after" in answer.headers) == (status in WAITING_HELPS)
    if status in WAITING_HELPS:
        assert int(answer.headers["retry-after"]) >= 1


@dataclass(frozen=True)
class GrpcFailure:
    """A gRPC error's details."""

    code: int
    info: error_details_pb2.ErrorInfo
    retry: error_details_pb2.RetryInfo | None
    quota: error_details_pb2.QuotaFailure | None


def failure_of(status: status_pb2.Status) -> GrpcFailure:
    """What a google.rpc.Status says."""
    found: dict[type[Message], Any] = {}
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.QuotaFailure):
        for detail in status.details:
            message = kind()
            if detail.Unpack(message):
                found[kind] = message
    return GrpcFailure(
        status.code,
        found[error_details_pb2.ErrorInfo],
        found.get(error_details_pb2.RetryInfo),
        found.get(error_details_pb2.QuotaFailure),
    )


def assert_grpc_error(
    error: grpc.aio.AioRpcError, code: grpc.StatusCode, reason: str, cause: str | None = None
) -> None:
    """The code, a google.rpc.Status that agrees with it, and what gRPC libraries are to wait."""
    assert error.code() is code, error.details()
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.message == error.details()
    failure = assert_failure(status, code, reason, cause)
    pushback = None if failure.retry is None else str(1000 * failure.retry.retry_delay.seconds)
    assert trailers.get("grpc-retry-pushback-ms") == pushback


def assert_failure(
    status: status_pb2.Status, code: grpc.StatusCode, reason: str, cause: str | None = None
) -> GrpcFailure:
    """The code and ErrorInfo, and RetryInfo where waiting helps; `cause` is what ErrorInfo must say."""
    failure = failure_of(status)
    assert failure.info.metadata["cause"] == (cause or failure.info.metadata["cause"]) != ""
    assert (failure.code, failure.info.domain, failure.info.reason) == (code.value[0], "instantaudience", reason)
    waiting_helps = code is grpc.StatusCode.UNAVAILABLE or reason == "RATE_LIMIT_EXCEEDED"
    assert (failure.retry is not None) == waiting_helps
    if failure.retry is not None:
        assert failure.retry.retry_delay.seconds >= 1
    assert (failure.quota is not None) == (reason == "RATE_LIMIT_EXCEEDED")
    return failure


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """How a gRPC call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def broken_rule(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """The path of the field whose rule a request broke, and the rule (google.rpc.BadRequest)."""
    details = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in details)
    (violation,) = bad_request.field_violations
    return violation.field, violation.description


def _refuse(number: str) -> NoReturn:
    raise AssertionError(f"{number} is no integer")
