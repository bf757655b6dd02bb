"""The OpenAPI document: it is one, its examples run as they stand, and answers have the shapes that it tells."""

import functools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from instantaudience_gateway.contract import descriptor, replies
from instantaudience_gateway.reference import files
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from redis.asyncio import RedisCluster

ROOT = Path(__file__).parents[3]
DOCUMENT: dict[str, Any] = json.loads((files.ROOT / "openapi.json").read_text())
OPERATIONS = [
    (path, verb, operation) for path, operations in DOCUMENT["paths"].items() for verb, operation in operations.items()
]
EXAMPLES = [
    (path, verb, name)
    for path, verb, operation in OPERATIONS
    if path in ("/auth", "/rt-segment")
    for name in operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
]
"""Of calls that change no object of the catalog; `test_reference_tried.py` has the others."""


TOOL_MARKS = ["buf:lint", "protolint:", "nolint", "clang-format", "api-linter", "noqa", "type: ignore"]
"""What comments say to tools."""


def assert_shape(schema: dict[str, Any], value: object) -> None:
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


@functools.cache
def closed() -> dict[str, Any]:
    """The document's parts, where an object has no keys that are not named."""

    def close(schema: Any) -> Any:
        if isinstance(schema, list):
            return [close(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        found = {key: close(value) for key, value in schema.items()}
        return found | {"additionalProperties": False} if "properties" in schema else found

    found: dict[str, Any] = close(DOCUMENT["components"])
    return found


def assert_answer(path: str, verb: str, value: object) -> None:
    """The answer has the shape, and no key that the document does not name."""
    answers = DOCUMENT["paths"][path][verb]["responses"]["200"]["content"]["application/json"]
    Draft202012Validator(answers["schema"] | {"components": closed()}).validate(value)


def test_it_is_an_openapi_document() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_has_no_marks_for_tools() -> None:
    """Comments of proto files tell tools what to leave out; such a line was published as documentation."""
    assert [mark for mark in TOOL_MARKS if mark in json.dumps(DOCUMENT)] == []


def test_it_has_what_partners_may_call() -> None:
    public = {(each.path, each.http_method.lower()) for each in descriptor.endpoints() if "/console" not in each.path}
    assert {(path, verb) for path, verb, _ in OPERATIONS} == public


def test_every_call_may_come_too_slowly() -> None:
    """The gateway waits for a body that was promised, whatever the method: `host/test_slow_senders.py` has it do so."""
    slow = str(replies.TOO_SLOW.http_status)
    assert [(path, verb) for path, verb, operation in OPERATIONS if slow not in operation["responses"]] == []


async def test_it_is_served(http: httpx.AsyncClient) -> None:
    answer = await http.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == DOCUMENT


async def test_the_page_needs_no_other_host(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "://" not in page.text
    redirect = await http.get("/docs/")
    assert (redirect.status_code, redirect.headers["location"]) == (308, "../docs")


@pytest.mark.parametrize(("path", "verb", "name"), EXAMPLES, ids=lambda each: each)
async def test_examples_run_as_they_stand(
    demo: httpx.AsyncClient, cluster: RedisCluster, path: str, verb: str, name: str
) -> None:
    operation = DOCUMENT["paths"][path][verb]
    body = operation["requestBody"]["content"]["application/json"]
    example = body["examples"][name]["value"]
    assert_shape(body["schema"], example)
    answer = await demo.request(verb, path, json=example)
    assert answer.status_code == 200
    assert_answer(path, verb, answer.json())
    told = operation["responses"]["200"]["content"]["application/json"].get("examples", {})
    if name in told:
        assert answer.json() == told[name]["value"]


READS = ["/rt-segment?user_id=7", "/segment", "/segment?id=10001", "/rt-segment-processed", "/healthz"]


@pytest.mark.parametrize("url", READS)
async def test_answers_have_their_shapes(demo: httpx.AsyncClient, cluster: RedisCluster, url: str) -> None:
    await demo.post("/rt-segment", json={"rt_segment": [{"user_id": "7", "seg_block": [{"seg_id": 10001}]}]})
    answer = await demo.get(url)
    assert answer.status_code == 200
    assert_answer(url.partition("?")[0], "get", answer.json())


WITH_BODIES = [(path, verb) for path, verb, operation in OPERATIONS if "requestBody" in operation]


@pytest.mark.parametrize(("path", "verb"), WITH_BODIES, ids=lambda each: each)
async def test_calls_with_too_large_a_body_are_told_so(demo: httpx.AsyncClient, path: str, verb: str) -> None:
    answer = await demo.request(verb, path, content=b'"' + 2**20 * b"x" + b'"')
    assert answer.status_code == 413
    assert "413" in DOCUMENT["paths"][path][verb]["responses"]


@pytest.mark.parametrize("url", ["/segment?id=x", "/segment?id=999999", "/nowhere"])
async def test_failures_have_their_shape(demo: httpx.AsyncClient, url: str) -> None:
    assert_shape({"$ref": "#/components/schemas/Error"}, (await demo.get(url)).json())
