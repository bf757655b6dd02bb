"""The OpenAPI document against a service of its own: calls change its catalog, and guess passwords."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from instantaudience_gateway.reference import files
from support.credentials.key_pairs import public_pem, signed
from support.service.running import Service, running_service

TESTS = Path(__file__).parents[2]
PATHS: dict[str, Any] = json.loads((files.ROOT / "openapi.json").read_text())["paths"]

UNSAID = {
    "SignInWithJwt": "what a JWT holds",
    "GetMemberships": "which form `domain` asks of `user_id`",
    "GetProcessed": "`start` is before `end`",
    "ChangeSegment": "there is `id`, `code`, or an `id` in the body; of these the last alone with `segments`",
    "RemoveSegment": "there is `id` or `code`",
    "AddPublicKey": "what a PEM text holds",
    "ChangeConfig": "separators are different, and no letters; a field stands once",
    "ChangeConfigByPost": "as ChangeConfig",
}
"""Operation → the rule that no schema can tell: calls that fit the document may be refused."""
SELDOM = {
    "FindSegments": "how many days a month has",
    "AddSegment": "how long the original platform's fields may be together",
    "MapUser": "which ID is the largest; what can be printed",
    "AnswerConsumer": "which ID is the largest",
}
"""The same, where chance alone (fuzzing) comes upon it."""
SETTINGS = f"""
[phases.coverage]
# Envoy reads no method that HTTP/1.1 did not know (QUERY): 400, before anything else.
unexpected-methods = ["get", "put", "post", "delete", "options", "patch", "trace"]

[[operations]]
# Users who are not valid are skipped with a warning, whatever is wrong with them.
include-operation-id = "ApplySegments"
checks.negative_data_rejection.enabled = false

[[operations]]
# Of several segments, each is done or not: what is wrong with one stands in the answer.
include-operation-id = ["AddSegment", "ChangeSegment"]
phases.fuzzing.checks.negative_data_rejection.enabled = false
phases.stateful.checks.negative_data_rejection.enabled = false

[[operations]]
include-operation-id = {list(UNSAID)}
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 429]

[[operations]]
include-operation-id = {list(SELDOM)}
phases.fuzzing.checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 403, 404, 409, 422, 429]
phases.stateful.checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 403, 404, 409, 422, 429]
"""
SECONDS = 280
pytestmark = [pytest.mark.wide, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Service]:
    async with running_service() as service:
        async with service.http(headers={"authorization": await service.token("private")}) as http:
            key = {"name": "pods", "encoded_value": public_pem("ES256")}
            (await http.post("/public-key", json={"public-key": key})).raise_for_status()
        yield service
        assert "call_defect" not in service.log


async def test_every_call_with_a_body_has_an_example_that_runs_as_it_stands(own: Service) -> None:
    """One after the other, by an admin: one adds what the next one changes."""
    async with own.http(headers={"authorization": await own.token("admin")}) as http:
        for path, operations in PATHS.items():
            for verb, operation in operations.items():
                body = operation.get("requestBody", {}).get("content", {}).get("application/json")
                if body is None:
                    continue
                parameters = {
                    each["name"]: each["example"] for each in operation.get("parameters", []) if "example" in each
                }
                for example in body["examples"].values():
                    answer = await http.request(verb, path, params=parameters, json=example["value"])
                    assert answer.status_code == 200, (verb, path, answer.text)


async def test_answers_to_calls_made_at_random_are_what_the_document_says(own: Service, tmp_path: Path) -> None:
    """What fits the document is done, and what does not is refused."""
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "SCHEMATHESIS_HOOKS": "support.tried_calls",
        "TOKEN": await own.token(),
        "ADMIN_TOKEN": await own.token("admin"),
        "JWT": signed("ES256", time.time(), "private"),
    }
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"{own.url}/openapi.json", "--seed", "1", "--max-examples", "10"]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    operations = sum(len(path) for path in PATHS.values())
    assert f"{operations} selected / {operations} total" in ran.stdout
    assert "Authentication failed" not in ran.stdout
