"""The Python client passes the cases that clients of every language have to pass (clients/conformance).

On the first host; on the others, `make test-clients` has them pass on the service that it has started.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import instantaudience
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from instantaudience import (
    AsyncClient,
    AudienceError,
    KeyPair,
    Limits,
    Password,
    Retries,
    StreamResult,
    Token,
)
from instantaudience.v1.audience_pb2 import ApplySegmentsResult, RtSegment, UserMemberships, WarningCode
from support.clients.conformance import cases, surroundings
from support.service.running import HOST_MODES

WAIT_SECONDS = 1.0
"""When what came to the proxy is counted, where a case waits."""
CASES = cases()
Case = dict[str, Any]


@pytest.fixture(scope="module")
async def environment() -> AsyncIterator[Mapping[str, str]]:
    if "INSTANT_AUDIENCE_FAULTS" in os.environ:
        yield os.environ
    else:
        async with surroundings(HOST_MODES[0]) as environment:
            yield environment


@pytest.mark.parametrize("case", CASES, ids=[f"{case['file']}: {case['name']}" for case in CASES])
async def test_conformance(environment: Mapping[str, str], case: Case) -> None:
    known = {"file", "name", "credentials", "limits", "retries", "faults", "steps", "seen", "wait"}
    assert set(case) <= known | {"endpoints", "refused_endpoints"}
    for endpoint in case.get("endpoints", []):
        await AsyncClient(endpoint, Token("x")).close()
    for endpoint in case.get("refused_endpoints", []):
        with pytest.raises(ValueError, match=r"^endpoint is "):
            AsyncClient(endpoint, Token("x"))
    async with httpx.AsyncClient(base_url=environment["INSTANT_AUDIENCE_FAULTS_CONTROL"], trust_env=False) as control:
        if "faults" in case:
            (await control.post("/", content=json.dumps(case["faults"]))).raise_for_status()
        async with _client(environment, case) as client:
            for step in case["steps"]:
                began = time.monotonic()
                async with _closing(client, step):
                    await _check(client, step, step["expect"])
                assert (time.monotonic() - began) * 1000 >= step.get("at_least_ms", 0)
        if case.get("wait"):
            await asyncio.sleep(WAIT_SECONDS)
        if "seen" in case:
            seen = (await control.get("/")).json()["seen"]
            assert {method: seen.get(method, 0) for method in case["seen"]} == case["seen"]


def _client(environment: Mapping[str, str], case: Case) -> AsyncClient:
    key = Path(environment["INSTANT_AUDIENCE_KEY_FILE"]).read_text()
    username, key_name = environment["INSTANT_AUDIENCE_USERNAME"], environment["INSTANT_AUDIENCE_KEY_NAME"]
    credentials = {
        "key pair": KeyPair(username, key_name, key),
        "password": Password(username, environment["INSTANT_AUDIENCE_PASSWORD"]),
        "wrong password": Password("private", "wrong"),
        "token": Token(environment["INSTANT_AUDIENCE_TOKEN"]),
        "unknown token": Token("hbapi:1001:0:0"),
        "wrong key": KeyPair(username, "unknown", key),
    }[case.get("credentials", "key pair")]
    retries = {"first_ms": 10, "most_ms": 100, "attempt_ms": 10_000} | case.get("retries", {})
    return AsyncClient(
        environment["INSTANT_AUDIENCE_FAULTS" if "faults" in case else "INSTANT_AUDIENCE_GRPC"],
        credentials,
        plaintext=True,
        limits=Limits(**case["limits"]) if "limits" in case else None,
        retries=Retries(**{name.replace("_ms", "_seconds"): ms / 1000 for name, ms in retries.items()}),
    )


@asynccontextmanager
async def _closing(client: AsyncClient, step: Case) -> AsyncIterator[None]:
    """Closes the client while the step's call is under way, where the step says so."""

    async def close() -> None:
        await asyncio.sleep(step["closed_after_ms"] / 1000)
        await client.close()

    closing = asyncio.create_task(close()) if "closed_after_ms" in step else None
    yield
    if closing is not None:
        await closing


async def _check(client: AsyncClient, step: Case, expect: Case) -> None:
    if "error" in expect:
        with pytest.raises(AudienceError) as raised:
            await _call(client, step)
        return _check_error(raised.value, expect["error"], is_closed="closed_after_ms" in step)
    answer = await _call(client, step)
    if step["call"] == "memberships":
        return _check_users(answer, list(_users(expect["users"])))
    results: list[StreamResult] = answer if step["call"] == "stream" else [StreamResult(0, 0, False, answer, None)]
    applied = [result.result for result in results if result.result is not None]
    for name in ("users_in_request", "segments_in_request"):
        assert sum(getattr(each.message, name) for each in applied) == expect[name]
    warnings = [warning for each in applied for warning in _told(each)]
    if "warnings" in expect:
        assert len(warnings) == len(expect["warnings"])
        for told, expected in zip(warnings, expect["warnings"], strict=True):
            assert told | expected == told
    assert len(warnings) == expect.get("warning_count", len(warnings))
    if "results" in expect:
        assert [[result.first_user, result.users] for result in results] == expect["results"]
        assert [index for index, result in enumerate(results) if result.continues] == expect.get("continued", [])
    errors = [result.error for result in results if result.error is not None]
    assert len(errors) == len(expect.get("errors", []))
    for error, wanted in zip(errors, expect.get("errors", []), strict=True):
        _check_error(error, wanted)
    return None


async def _call(client: AsyncClient, step: Case) -> Any:
    seconds = step.get("deadline_ms", 30_000) / 1000
    if step["call"] == "memberships":
        ids = [user["user_id"] for user in _users(step["user_ids"])]
        return await client.memberships(ids, domain=step.get("domain"), deadline_seconds=seconds)
    if step["call"] == "stream":
        return await _stream(client, step["users"], seconds)
    users = [ParseDict(user, RtSegment()) for user in _users(step["users"])]
    return await client.apply(users, validate_only=step.get("validate_only", False), deadline_seconds=seconds)


async def _stream(client: AsyncClient, written: list[Case], seconds: float) -> list[StreamResult]:
    """Streams users, at once or, where some come later, as they come."""
    results: list[StreamResult] = []
    came = asyncio.Event()

    async def as_they_come() -> AsyncIterator[RtSegment]:
        for each in written:
            while len(results) < each.get("after_results", 0):
                came.clear()
                await came.wait()
            for user in _users([each]):
                yield ParseDict(user, RtSegment())

    at_once = [ParseDict(user, RtSegment()) for user in _users(written)]
    are_slow = any("after_results" in each for each in written)
    async for result in client.stream(as_they_come() if are_slow else at_once, patience_seconds=seconds):
        results.append(result)
        came.set()
    return results


def _users(written: list[Any]) -> Iterator[Case]:
    """Users as they are meant: each as often as `times` says."""
    for user in written:
        if isinstance(user, str):
            yield {"user_id": user}
            continue
        template = {key: value for key, value in user.items() if key not in ("times", "distinct", "after_results")}
        times = user.get("times", 1)
        for i in range(times):
            blocks = [block for block in user.get("seg_block", []) for block in _blocks(block, i)]
            user_id = str(int(user["user_id"]) + i % user.get("distinct", times)) if times > 1 else user["user_id"]
            yield template | {"user_id": user_id} | ({"seg_block": blocks} if "seg_block" in user else {})


def _blocks(written: Case, i: int) -> list[Case]:
    times = written.get("times", 1)
    template = {key: value for key, value in written.items() if key != "times"}
    numbers = range(times) if times > 1 else [i]
    return [template | ({"value": number} if template.get("value") == "i" else {}) for number in numbers]


def _told(result: ApplySegmentsResult) -> list[Case]:
    return [
        {
            "path": warning.path,
            "code": WarningCode.Name(warning.code).removeprefix("WARNING_CODE_"),
            "message": warning.message,
        }
        for warning in result.warnings
    ]


def _check_error(error: AudienceError, expected: Case, *, is_closed: bool = False) -> None:
    assert type(error) is getattr(instantaudience, f"{expected['kind']}Error")
    assert error.code.name == expected.get("code", error.code.name)
    assert error.reason == expected.get("reason", error.reason)
    assert error.request_id or expected["kind"] == "DeadlineExceeded" or is_closed


def _check_users(users: list[UserMemberships], expected: list[Case]) -> None:
    assert [(user.user_id, user.domain) for user in users] == [
        (user["user_id"], user.get("domain", "")) for user in expected
    ]
    for user, wanted in zip(users, expected, strict=True):
        assert len(user.seg_block) == len(wanted["seg_block"])
        for membership, fields in zip(user.seg_block, wanted["seg_block"], strict=True):
            stands = MessageToDict(
                membership, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            assert stands | fields == stands
