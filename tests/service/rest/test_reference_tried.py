"""The OpenAPI document against a service of its own: calls change its catalog, and guess passwords."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from instantaudience_gateway.reference import files
from support.service import Service, running_service

PATHS: dict[str, Any] = json.loads((files.ROOT / "openapi.json").read_text())["paths"]

SETTINGS = """
[phases.coverage]
# Envoy reads no method that HTTP/1.1 did not know (QUERY): 400, before anything else.
unexpected-methods = ["get", "put", "post", "delete", "options", "patch", "trace"]

[checks.positive_data_acceptance]
# The document has shapes; rules beyond them (which IDs there are, what goes together) are answered with 400.
enabled = false

[checks.negative_data_rejection]
# The contract takes more than the document tells callers to send: `null`, numbers as text, unknown keys.
enabled = false
"""
SECONDS = 110


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Service]:
    async with running_service() as service:
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
    """Of valid calls, and of others."""
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"{own.url}/openapi.json", "--seed", "1", "--max-examples", "10"]
    # Signing out would end the token of all calls after it.
    command += ["--exclude-operation-id", "SignOut", "--header", f"Authorization: {await own.token()}"]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    operations = sum(len(path) for path in PATHS.values())
    assert f"{operations - 1} selected / {operations} total" in ran.stdout
