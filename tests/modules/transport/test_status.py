"""The table of errors (contract, "Errors"), row by row, and what a caller sees of an error."""

import base64
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2
from instantaudience.v1 import errors_pb2
from instantaudience_server.errors import AudienceError, Cause, Reason, invalid, overloaded, unavailable, unreadable
from instantaudience_server.transport.framing import status_message
from instantaudience_server.transport.status import ROWS, Failure, describe

TABLE = [
    (Reason.SYNTAX, "INVALID_ARGUMENT", 400, "SYNTAX", "INVALID_REQUEST"),
    (Reason.INVALID, "OUT_OF_RANGE", 422, "SYNTAX", "INVALID_REQUEST"),
    (Reason.NOAUTH, "UNAUTHENTICATED", 401, "NOAUTH", "TOKEN_ENDED"),
    (Reason.INVALID_LOGIN, "UNAUTHENTICATED", 401, "NOAUTH", "WRONG_CREDENTIALS"),
    (Reason.NOAUTH_DISABLED, "UNAUTHENTICATED", 401, "NOAUTH_DISABLED", "USER_DEACTIVATED"),
    (Reason.UNAUTH, "PERMISSION_DENIED", 403, "UNAUTH", "NOT_PERMITTED"),
    (Reason.NOT_FOUND, "NOT_FOUND", 404, "SYNTAX", "UNKNOWN_OBJECT"),
    (Reason.NO_SUCH_METHOD, "UNIMPLEMENTED", 404, "SYNTAX", "UNKNOWN_METHOD"),
    (Reason.INTEGRITY, "ALREADY_EXISTS", 409, "INTEGRITY", "TAKEN"),
    (Reason.CHANGED_MEANWHILE, "ABORTED", 409, "INTEGRITY", "CHANGED_MEANWHILE"),
    (Reason.IN_USE, "FAILED_PRECONDITION", 409, "INTEGRITY", "IN_USE"),
    (Reason.LIMIT, "RESOURCE_EXHAUSTED", 413, "LIMIT", "TOO_LARGE"),
    (Reason.RATE_LIMIT_EXCEEDED, "RESOURCE_EXHAUSTED", 429, "RATE_LIMIT_EXCEEDED", "TOO_MANY"),
    (Reason.UNAVAILABLE, "UNAVAILABLE", 503, "SYSTEM", "UNREACHABLE"),
    (Reason.INTERNAL, "INTERNAL", 500, "SYSTEM", "DEFECT"),
]
PUBLIC = {value.name.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values[1:]}
"""The reasons that the proto file documents."""
CAUSES = {value.name.removeprefix("ERROR_CAUSE_") for value in errors_pb2.ErrorCause.DESCRIPTOR.values[1:]}
"""Its causes."""
KNOWN = ("ErrorInfo", "BadRequest", "RetryInfo", "QuotaFailure")


def details(failure: Failure) -> dict[str, Any]:
    """The details of a failure, by the name of their type."""
    known = [getattr(error_details_pb2, name) for name in KNOWN]
    unpacked = {}
    for packed in failure.status.details:
        (kind,) = (kind for kind in known if packed.Is(kind.DESCRIPTOR))
        unpacked[kind.DESCRIPTOR.name] = message = kind()
        packed.Unpack(message)
    assert len(unpacked) == len(failure.status.details)
    return unpacked


@pytest.mark.parametrize("character", ["x", "\n", "é", "日", "\U0001f600"])
@pytest.mark.parametrize("room", range(4))
def test_a_text_that_repeats_much_fits_into_headers(character: str, room: int) -> None:
    text = "x" * room + character * 100_000
    failure = describe(invalid("user_id", text))
    assert failure.message[-1] == "…"
    assert f"'user_id' {text}".startswith(failure.message[:-1])
    assert 1000 - 4 < len(failure.message[:-1].encode()) <= 1000
    violation = details(failure)["BadRequest"].field_violations[0].description
    assert failure.message == failure.status.message == violation
    details_size = len(base64.b64encode(failure.status.SerializeToString()))
    assert len(status_message(failure.message)) + details_size < 8000


def test_a_reason_has_the_contracts_row(subtests: pytest.Subtests) -> None:
    for reason, grpc_code, http_status, error_id, cause in TABLE:
        with subtests.test(reason=reason, grpc_code=grpc_code, http_status=http_status, error_id=error_id, cause=cause):
            row = ROWS[reason]
            assert (row.grpc_code, row.http_status, row.error_id) == (
                code_pb2.Code.Value(grpc_code),
                http_status,
                error_id,
            )
            failure = describe(AudienceError(reason, "what is wrong", field="user_id"))
            assert (failure.code, failure.message) == (row.grpc_code, "what is wrong")
            assert (failure.status.code, failure.status.message) == (row.grpc_code, "what is wrong")
            assert failure.metadata[0] == ("error-id", error_id)
            info = details(failure)["ErrorInfo"]
            assert (info.reason, info.domain, dict(info.metadata)) == (
                error_id,
                "instantaudience",
                {"cause": cause, "field": "user_id"},
            )
            assert error_id in PUBLIC


def test_two_reasons_have_a_code_beside_their_id() -> None:
    codes = {Reason.INVALID_LOGIN: "INVALID_LOGIN", Reason.RATE_LIMIT_EXCEEDED: "RATE_EXCEEDED"}
    for reason, row in ROWS.items():
        assert row.error_code == codes.get(reason)
        expected = {"error-code": row.error_code} if row.error_code else {}
        metadata = dict(describe(AudienceError(reason, "text")).metadata)
        assert {key: value for key, value in metadata.items() if key == "error-code"} == expected


def test_every_reason_has_a_row_and_every_public_reason_is_used() -> None:
    assert set(ROWS) == set(Reason) == {row[0] for row in TABLE}
    assert {row.error_id for row in ROWS.values()} == PUBLIC


def test_every_public_cause_is_one_of_an_error() -> None:
    assert {cause.name for cause in Cause} == CAUSES


def test_causes_tell_apart_what_one_reason_takes_together(subtests: pytest.Subtests) -> None:
    for error, cause in [
        (unreadable("no message"), "UNREADABLE_REQUEST"),
        (overloaded("later"), "OVERLOADED"),
        (unavailable("away"), "UNREACHABLE"),
        (AudienceError(Reason.NOAUTH, "none", cause=Cause.TOKEN_MISSING), "TOKEN_MISSING"),
        (AudienceError(Reason.NOAUTH, "ended"), "TOKEN_ENDED"),
    ]:
        with subtests.test(error=error, cause=cause):
            assert details(describe(error))["ErrorInfo"].metadata["cause"] == cause


def test_an_invalid_field_is_a_violation_and_nothing_else_is() -> None:
    (violation,) = details(describe(invalid("auth.username", "is required")))["BadRequest"].field_violations
    assert (violation.field, violation.reason) == ("auth.username", "INVALID_REQUEST")
    assert violation.description == "'auth.username' is required"
    (inner,) = details(describe(invalid("code", "is too long", of="segment")))["BadRequest"].field_violations
    assert (inner.field, inner.description) == ("segment.code", "'code' is too long")
    for error in (unreadable("no message"), AudienceError(Reason.NOT_FOUND, "there is none", field="id")):
        assert "BadRequest" not in details(describe(error))


def test_only_what_waiting_helps_says_how_long() -> None:
    failure = describe(unavailable("not now"))
    assert list(details(failure)) == ["ErrorInfo", "RetryInfo"]
    assert details(failure)["RetryInfo"].retry_delay.seconds == 1
    assert failure.metadata == (("error-id", "SYSTEM"), ("grpc-retry-pushback-ms", "1000"), ("retry-after", "1"))
    without = describe(AudienceError(Reason.LIMIT, "too long"))
    assert list(details(without)) == ["ErrorInfo"]
    assert without.metadata == (("error-id", "LIMIT"),)


def test_a_rate_limit_says_which_and_how_long() -> None:
    failure = describe(AudienceError(Reason.RATE_LIMIT_EXCEEDED, "too often", retry_after_seconds=300))
    unpacked = details(failure)
    assert list(unpacked) == ["ErrorInfo", "RetryInfo", "QuotaFailure"]
    assert unpacked["RetryInfo"].retry_delay.seconds == 300
    assert [violation.description for violation in unpacked["QuotaFailure"].violations] == ["too often"]
    assert failure.metadata == (
        ("error-id", "RATE_LIMIT_EXCEEDED"),
        ("error-code", "RATE_EXCEEDED"),
        ("grpc-retry-pushback-ms", "300000"),
        ("retry-after", "300"),
        ("x-ratelimit-code", "429"),
    )


def test_a_quota_says_whose_it_is_and_how_much_was_counted() -> None:
    error = AudienceError(
        Reason.RATE_LIMIT_EXCEEDED, "too often", retry_after_seconds=1, count="100", subject="member:123"
    )
    failure = describe(error)
    (violation,) = details(failure)["QuotaFailure"].violations
    assert (violation.subject, violation.description) == ("member:123", "too often")
    assert failure.metadata[-1] == ("x-ratelimit-count", "100")
