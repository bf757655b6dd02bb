"""The table: calls, and what every host answers on each port."""

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from instantaudience.v1 import audience_pb2, authentication_pb2, catalog_pb2, identity_pb2, privacy_pb2, status_pb2
from instantaudience_server.transport.framing import frame
from support.contract.messages import (
    APPLY,
    AUTHENTICATE,
    GET_STATUS,
    LIMIT_BYTES,
    PACKAGE,
    STREAM,
    USER,
    apply_request,
    one_user,
)
from support.service.running import credentials
from support.wire.peer import prefix

BOTH, GATEWAY = ("gateway", "direct"), ("gateway",)
GET = f"/{PACKAGE}.AudienceService/GetMemberships"
BATCH_GET = f"/{PACKAGE}.AudienceService/BatchGetMemberships"
CHECK = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
READY = f"/{PACKAGE}.StatusService/GetReadiness"
MEMBERS = f"/{PACKAGE}.CatalogService/ListMembers"
RESOLVE = f"/{PACKAGE}.IdentityService/ResolveUser"
SEGMENTS = f"/{PACKAGE}.PrivacyService/GetUserSegments"
FORGET = f"/{PACKAGE}.PrivacyService/ForgetUser"
ANSWERS: dict[str, type[Message]] = {
    APPLY: audience_pb2.ApplySegmentsResponse,
    STREAM: audience_pb2.StreamSegmentsResponse,
    GET: audience_pb2.GetMembershipsResponse,
    BATCH_GET: audience_pb2.BatchGetMembershipsResponse,
    AUTHENTICATE: authentication_pb2.AuthenticateResponse,
    GET_STATUS: status_pb2.GetStatusResponse,
    READY: status_pb2.GetReadinessResponse,
    CHECK: health_pb2.HealthCheckResponse,
    REFLECT: reflection_pb2.ServerReflectionResponse,
    SEGMENTS: privacy_pb2.GetUserSegmentsResponse,
    FORGET: privacy_pb2.ForgetUserResponse,
}
"""Kinds of answers, by path."""


@dataclass(frozen=True)
class Call:
    """A gRPC call, and how it ends: code, reason and cause; parts of its answers, as JSON."""

    path: str
    requests: list[Message | bytes]
    """Messages, or bytes that are sent as they are."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    code: int = 0
    reason: str = ""
    cause: str | None = None
    caller: str = "demo"
    headers: dict[str, str] = field(default_factory=dict)
    broken_field: str = ""
    """The field that BadRequest names."""
    on_grpcio: int | None = None
    """The code on host `grpcio` where gRPC's own library decides, and it decides otherwise."""
    ports: tuple[str, ...] = BOTH


@dataclass(frozen=True)
class Request:
    """A REST request, and its answer."""

    method: str
    path: str
    content: bytes | None = None
    status: int = 200
    error_id: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    """A part of the answer's JSON."""
    caller: str = "demo"
    headers: dict[str, str] = field(default_factory=dict)
    answer_headers: dict[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = GATEWAY


def users(*user_ids: str) -> dict[str, Any]:
    """A request that adds users to a segment."""
    return {"rt_segment": [{"user_id": user_id, "seg_block": [{"seg_id": 10001}]} for user_id in user_ids]}


def warned(message: str) -> dict[str, Any]:
    """An answer with one warning."""
    return {"response": {"status": "OK", "warnings": [{"message": message}]}}


def refused(code: int) -> dict[str, Any]:
    """An answer in a stream that is an error."""
    return {"error": {"code": code}}


WARNED_OF_SEGMENT = {"response": {"status": "OK", "warnings": [{"code": "WARNING_CODE_UNKNOWN_SEGMENT"}]}}
OK: dict[str, Any] = {"response": {"status": "OK"}}
FINE = apply_request(one_user())
THREE = apply_request(users("1", "2", "3"))
SYNTAX: dict[str, Any] = {"code": 3, "reason": "SYNTAX"}
LIMIT: dict[str, Any] = {"code": 8, "reason": "LIMIT", "cause": "TOO_LARGE"}
NO_TOKEN: dict[str, Any] = {"code": 16, "reason": "NOAUTH", "cause": "TOKEN_MISSING", "caller": "nobody"}
BAD_TOKEN: dict[str, Any] = {"code": 16, "reason": "NOAUTH", "cause": "TOKEN_ENDED", "caller": "stranger"}
NO_METHOD: dict[str, Any] = {"code": 12, "reason": "SYNTAX", "cause": "UNKNOWN_METHOD"}
ZIPPED = gzip.compress(FINE.SerializeToString())
TOO_LARGE = frame(b"\x7a\xfd\xff\x3f" + bytes(LIMIT_BYTES - 3))
GZIP = {"grpc-encoding": "gzip"}
WITHOUT_USERS = audience_pb2.BatchGetMembershipsRequest()
BAD_SECOND_USER = audience_pb2.BatchGetMembershipsRequest(
    users=[audience_pb2.GetMembershipsRequest(user_id="1"), audience_pb2.GetMembershipsRequest(user_id="x")]
)

CALLS: dict[str, Call] = {
    # Calls that succeed.
    "apply": Call(APPLY, [FINE], [OK]),
    "apply nothing": Call(APPLY, [frame(b"")], [OK]),
    "apply, an unknown segment": Call(APPLY, [apply_request(one_user(seg_id=7))], [WARNED_OF_SEGMENT]),
    "apply, an invalid user": Call(APPLY, [apply_request(users("1", "x"))], [warned("Invalid user_id: x")]),
    "apply, compressed": Call(APPLY, [prefix(1, len(ZIPPED)) + ZIPPED], [OK], headers=GZIP),
    "apply, in many frames": Call(APPLY, [bytes([byte]) for byte in frame(FINE.SerializeToString())], [OK]),
    "apply, with Bearer": Call(APPLY, [FINE], [OK], caller="Bearer demo"),
    "memberships of nobody": Call(
        GET, [audience_pb2.GetMembershipsRequest(user_id="9")], [{"response": {"rt_segment": [{"user_id": "9"}]}}]
    ),
    "memberships of many": Call(
        BATCH_GET,
        [
            audience_pb2.BatchGetMembershipsRequest(
                users=[audience_pb2.GetMembershipsRequest(user_id=each) for each in "89"]
            )
        ],
        [{"response": {"rt_segment": [{"user_id": "8"}, {"user_id": "9"}]}}],
    ),
    "a user's segments": Call(SEGMENTS, [privacy_pb2.GetUserSegmentsRequest(user_id="9")], [{}]),
    "forget a user": Call(FORGET, [privacy_pb2.ForgetUserRequest(user_id="9")], [{}]),
    "status": Call(GET_STATUS, [frame(b"")], [OK], caller="nobody"),
    "readiness": Call(READY, [frame(b"")], [OK], caller="nobody"),
    "health": Call(CHECK, [frame(b"")], [{"status": "SERVING"}], caller="nobody"),
    "health of an unknown service": Call(
        CHECK, [health_pb2.HealthCheckRequest(service="nope")], code=5, caller="nobody"
    ),
    "reflection": Call(
        REFLECT,
        [reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{PACKAGE}.Nope")],
        [{"error_response": {"error_code": 5}}],
        caller="nobody",
    ),
    # Headers.
    "headers of the caller's own": Call(APPLY, [FINE], [OK], headers={"x-own": "1", "x-own-bin": "AAEC"}),
    "binary headers that are none": Call(APPLY, [FINE], [OK], headers={"x-own-bin": "!!!"}, on_grpcio=13),
    "a timeout that is none": Call(APPLY, [FINE], [OK], headers={"grpc-timeout": "1 second"}, on_grpcio=13),
    "a header of 8 kB": Call(APPLY, [FINE], [OK], headers={"x-own": "x" * 8000}),
    # Who calls.
    "no token": Call(APPLY, [FINE], **NO_TOKEN),
    "a bad token": Call(APPLY, [FINE], **BAD_TOKEN),
    "no token, to read": Call(GET, [audience_pb2.GetMembershipsRequest(user_id="9")], **NO_TOKEN),
    "a stream without a token": Call(STREAM, [FINE], **NO_TOKEN),
    "a stream with a bad token": Call(STREAM, [FINE], **BAD_TOKEN),
    "a role that may not": Call(MEMBERS, [catalog_pb2.ListMembersRequest()], code=7, reason="UNAUTH"),
    "another member's users": Call(
        RESOLVE, [identity_pb2.ResolveUserRequest(member_id=958, external_ids=["a"])], code=7, reason="UNAUTH"
    ),
    "a wrong password": Call(
        AUTHENTICATE,
        [authentication_pb2.AuthenticateRequest(**credentials("demo", "wrong"))],
        **BAD_TOKEN | {"cause": "WRONG_CREDENTIALS", "caller": "nobody"},
    ),
    # Requests that are none.
    "no message": Call(APPLY, [b""], **SYNTAX),
    "two messages": Call(APPLY, [FINE, FINE], **SYNTAX, on_grpcio=0),
    "a message cut short": Call(APPLY, [prefix(0, 1000) + b"x"], **SYNTAX),
    "no protobuf": Call(APPLY, [frame(b"\xff")], **SYNTAX, cause="UNREADABLE_REQUEST"),
    "a message over the limit": Call(APPLY, [TOO_LARGE], **LIMIT),
    "compressed in an unknown way": Call(
        APPLY, [prefix(1, 3) + b"abc"], **SYNTAX, headers={"grpc-encoding": "br"}, on_grpcio=13
    ),
    "garbage for gzip": Call(APPLY, [prefix(1, 3) + b"abc"], **SYNTAX, headers=GZIP, on_grpcio=13),
    "an unknown method": Call(f"/{PACKAGE}.AudienceService/Nope", [FINE], **NO_METHOD),
    "an unknown service": Call("/nope.Service/ApplySegments", [FINE], **NO_METHOD),
    "no users": Call(BATCH_GET, [WITHOUT_USERS], **SYNTAX, broken_field="users"),
    "a bad user": Call(BATCH_GET, [BAD_SECOND_USER], **SYNTAX, broken_field="users[1].user_id"),
    "over the quota": Call(APPLY, [THREE], code=8, reason="RATE_LIMIT_EXCEEDED", caller="full"),
    # Streams.
    "an empty stream": Call(STREAM, [b""]),
    "a stream in order": Call(
        STREAM,
        [apply_request(users("1", f"x{number}")) for number in range(5)],
        [warned(f"Invalid user_id: x{number}") for number in range(5)],
    ),
    "a stream, no protobuf in the middle": Call(STREAM, [FINE, frame(b"\xff"), FINE], [OK, refused(3), OK]),
    "a stream, too large in the middle": Call(STREAM, [FINE, TOO_LARGE, FINE], [OK, refused(8), OK]),
    "a stream over the quota": Call(STREAM, [THREE], [refused(8)], caller="full"),
    "a stream cut short": Call(STREAM, [prefix(0, 1000) + b"x"], **SYNTAX, on_grpcio=0),
}

GOOD = json.dumps(users(USER)).encode()
POST = ("POST", "/rt-segment")
SAME: dict[str, Any] = {"ports": BOTH}
WRONG: dict[str, Any] = {"status": 400, "error_id": "SYNTAX"} | SAME
NOBODY: dict[str, Any] = {"status": 401, "error_id": "NOAUTH"}
GIVEN: dict[str, Any] = {"response": {"message": {"users_in_request": 1, "segments_in_request": 1}}}
REQUESTS: dict[str, Request] = {
    "post": Request(*POST, GOOD, answer=GIVEN, **SAME),
    "post nothing": Request(*POST, b"{}", answer=OK, **SAME),
    "post, an invalid user": Request(
        *POST, json.dumps(users("1", "x")).encode(), answer=warned("Invalid user_id: x"), **SAME
    ),
    "post, an unknown field": Request(*POST, GOOD[:-1] + b',"x":{}}', answer=GIVEN, **SAME),
    "post, with another content type": Request(
        *POST, GOOD, answer=GIVEN, headers={"content-type": "application/x-www-form-urlencoded"}, **SAME
    ),
    "post, checked alone": Request("POST", "/rt-segment?validate_only=true", GOOD, answer=OK),
    "post, no body": Request(*POST, b"", **WRONG),
    "post, no JSON": Request(*POST, b"{", **WRONG),
    "post, a list": Request(*POST, b"[]", **WRONG),
    "post, a wrong type": Request(*POST, b'{"rt_segment":1}', **WRONG),
    "post, no UTF-8": Request(*POST, b'{"rt_segment":[{"user_id":"\xff"}]}', **WRONG),
    "post, too large": Request(*POST, GOOD + b" " * LIMIT_BYTES, 413, "LIMIT", **SAME),
    "post, no token": Request(*POST, GOOD, caller="nobody", **NOBODY, **SAME),
    "post, a bad token": Request(*POST, GOOD, caller="stranger", **NOBODY, **SAME),
    "post, over the quota": Request(
        *POST,
        json.dumps(users("1", "2", "3")).encode(),
        429,
        "RATE_LIMIT_EXCEEDED",
        caller="full",
        answer_headers={"retry-after": "1", "x-ratelimit-code": "429"},
        **SAME,
    ),
    "get": Request("GET", "/rt-segment?user_id=9", answer={"response": {"rt_segment": [{"user_id": "9"}]}}),
    "get, an invalid user": Request("GET", "/rt-segment?user_id=x", None, 400, "SYNTAX"),
    "a wrong method": Request("PUT", "/rt-segment", GOOD, 405, "SYNTAX", answer_headers={"allow": "GET, POST"}),
    "an unknown path": Request("POST", "/nope", GOOD, 404, "SYNTAX"),
    "healthz": Request("GET", "/healthz", answer=OK, caller="nobody"),
    "readyz": Request("GET", "/readyz", answer=OK, caller="nobody"),
}
