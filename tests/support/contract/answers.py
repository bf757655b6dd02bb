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
"""gRPC codes by number."""


def body_of(answer: httpx.Response) -> Any:
    """The JSON of a response; all numbers in it must be written as integers."""
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.content, parse_float=_refuse)


def assert_http_error(
    answer: httpx.Response, status: int, error_id: str, text: str | None = None, *, error_code: str | None = None
) -> None:
    """Check that a response is an error in the contract's format, with this `text`, and `error_code` beside its ID (for
    429, always the same)."""
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
    """The details of a gRPC error."""

    code: int
    info: error_details_pb2.ErrorInfo
    retry: error_details_pb2.RetryInfo | None
    quota: error_details_pb2.QuotaFailure | None


def failure_of(status: status_pb2.Status) -> GrpcFailure:
    """The content of a google.rpc.Status."""
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
    """Check the code, the google.rpc.Status, which must agree with it, and the delay for gRPC libraries."""
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
    """Check code and ErrorInfo, and RetryInfo if a retry helps; `cause` is the expected cause in ErrorInfo."""
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
    """The error of a gRPC call, which must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def broken_rule(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """The path of the invalid field in a google.rpc.BadRequest, and the rule that it breaks."""
    details = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in details)
    (violation,) = bad_request.field_violations
    return violation.field, violation.description


def _refuse(number: str) -> NoReturn:
    raise AssertionError(f"{number} is no integer")
