"""What is no call: codes, and google.rpc details (source: contract, "Errors"); nothing is applied."""

from typing import Any

import grpc
import pytest
from instantaudience.v1 import authentication_pb2 as auth_pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.authentication_pb2_grpc import AuthenticationServiceStub
from support.contract.answers import assert_grpc_error, broken_rule, refusal
from support.contract.messages import APPLY, LIMIT_BYTES, PACKAGE, apply_request, one_user
from support.service.running import PASSWORDS, Service, credentials

pytestmark = pytest.mark.usefixtures("unchanged")
UNKNOWN_FIELD = b"\x7a"  # field 15, length-delimited
TOKEN_METHODS = ["ApplySegments", "GetMemberships", "BatchGetMemberships"]

INVALID_ARGUMENT = (grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX")
UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "NOAUTH")


def padded(size: int) -> bytes:
    """A fine request of so many bytes, most of them in an unknown field."""
    fine = apply_request(one_user(seg_id=10001)).SerializeToString()
    length = size - len(fine) - 5
    varint = bytes((length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21))
    return fine + UNKNOWN_FIELD + varint + bytes(length)


FINE = apply_request(one_user()).SerializeToString()
UNREADABLE = {
    "no message": b"\xff",
    "cut short": FINE[:-1],
    "a user cut short": b"\x0a\x02\x0a\x05",
    "a user that is no message": FINE + b"\x0a\x01\xff",
    "user_id is not UTF-8": FINE + b"\x0a\x03\x0a\x01\xff",
    "seg_code is not UTF-8": FINE + b"\x0a\x08\x0a\x01\x31\x12\x03\x12\x01\xff",
    "a group without an end": FINE + b"\x7b",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_messages(channel: grpc.aio.Channel, authorization: Any, body: bytes) -> None:
    error = await refusal(channel.unary_unary(APPLY)(body, metadata=authorization))
    assert_grpc_error(error, *INVALID_ARGUMENT, "UNREADABLE_REQUEST")


@pytest.mark.parametrize("more", [1, 1000, LIMIT_BYTES, 4 * LIMIT_BYTES])
async def test_messages_over_the_limit(channel: grpc.aio.Channel, authorization: Any, more: int) -> None:
    body = padded(LIMIT_BYTES + more)
    assert len(body) == LIMIT_BYTES + more
    error = await refusal(channel.unary_unary(APPLY)(body, metadata=authorization))
    assert_grpc_error(error, grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT", "TOO_LARGE")


async def test_messages_far_over_the_limit(channel: grpc.aio.Channel, authorization: Any) -> None:
    """gRPC itself may refuse them, without details."""
    error = await refusal(channel.unary_unary(APPLY)(padded(9 * LIMIT_BYTES), metadata=authorization))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


UNKNOWN = [
    f"/{PACKAGE}.AudienceService/Nope",
    f"/{PACKAGE}.NopeService/ApplySegments",
    *("/rt-segment", "/nope", f"{APPLY}%2F", "/%ff", '/"'),
]


@pytest.mark.parametrize("method", UNKNOWN)
async def test_unknown_methods(channel: grpc.aio.Channel, authorization: Any, method: str) -> None:
    error = await refusal(channel.unary_unary(method)(FINE, metadata=authorization))
    assert_grpc_error(error, grpc.StatusCode.UNIMPLEMENTED, "SYNTAX", "UNKNOWN_METHOD")


MISSING = {"none", "empty"}
"""Calls without a token; the others have one that is none."""
TOKENS = {
    "none": (),
    "empty": (("authorization", ""),),
    "unknown": (("authorization", "hbapi:1001:0123456789abcdef0123456789abcdef:local"),),
    "unknown, with Bearer": (("authorization", "Bearer hbapi:1001:0123456789abcdef0123456789abcdef:local"),),
    "no token": (("authorization", "x" * 1000),),
}


@pytest.mark.parametrize("which", TOKENS)
@pytest.mark.parametrize("method", TOKEN_METHODS)
async def test_refused_tokens(channel: grpc.aio.Channel, method: str, which: str) -> None:
    call = channel.unary_unary(f"/{PACKAGE}.AudienceService/{method}")
    cause = "TOKEN_MISSING" if which in MISSING else "TOKEN_ENDED"
    assert_grpc_error(await refusal(call(FINE, metadata=TOKENS[which])), *UNAUTHENTICATED, cause)


SIGN_INS = {
    "wrong password": (credentials("demo", "x"), (*UNAUTHENTICATED, "WRONG_CREDENTIALS")),
    "unknown name": (credentials("nobody", "x"), (*UNAUTHENTICATED, "WRONG_CREDENTIALS")),
    "deactivated": (
        credentials("retired"),
        (grpc.StatusCode.UNAUTHENTICATED, "NOAUTH_DISABLED", "USER_DEACTIVATED"),
    ),
    "no credentials": ({}, (*INVALID_ARGUMENT, "INVALID_REQUEST")),
    "no password": ({"auth": {"username": "demo"}}, (*INVALID_ARGUMENT, "INVALID_REQUEST")),
}


@pytest.mark.parametrize(("request_body", "expected"), SIGN_INS.values(), ids=SIGN_INS)
async def test_refused_sign_ins(channel: grpc.aio.Channel, request_body: dict[str, Any], expected: Any) -> None:
    request = auth_pb.AuthenticateRequest(**request_body)
    error = await refusal(AuthenticationServiceStub(channel).Authenticate(request))
    assert_grpc_error(error, *expected)
    assert not any(password in str(error) for password in PASSWORDS.values())


async def test_a_broken_rule_names_its_field(channel: grpc.aio.Channel) -> None:
    request = auth_pb.AuthenticateRequest(auth=auth_pb.Credentials(username="demo"))
    error = await refusal(AuthenticationServiceStub(channel).Authenticate(request))
    assert broken_rule(error) == ("auth.password", error.details())


async def test_sign_in(service: Service, channel: grpc.aio.Channel, audience: AudienceServiceStub) -> None:
    request = auth_pb.AuthenticateRequest(**credentials("private"))
    answer = await AuthenticationServiceStub(channel).Authenticate(request)
    assert answer.response.status == "OK"
    assert answer.response.token.startswith("hbapi:1003:")
    metadata = (("authorization", answer.response.token),)
    validated = await audience.ApplySegments(apply_request(one_user(), validate_only=True), metadata=metadata)
    assert [warning.message for warning in validated.response.warnings] == ["Unauthorized segment: 10001"]


@pytest.mark.parametrize("channel", ["gateway"], indirect=True)
async def test_the_eleventh_sign_in(service: Service, channel: grpc.aio.Channel) -> None:
    """With the account `external`, which signs in nowhere else but once for its token."""
    await service.token("external")
    request = auth_pb.AuthenticateRequest(**credentials("external"))
    authenticate = AuthenticationServiceStub(channel).Authenticate
    for _ in range(9):
        await authenticate(request)
    error = await refusal(authenticate(request))
    assert_grpc_error(error, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED")
