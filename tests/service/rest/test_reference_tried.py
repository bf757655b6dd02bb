"""The OpenAPI document against the service: calls made at random of it, valid or not, get the answers that it tells."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from instantaudience_gateway.reference import files
from support.service import running_service

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


async def test_answers_are_what_the_document_says(tmp_path: Path) -> None:
    """On a service of its own: the calls change the catalog, and guess passwords."""
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    async with running_service() as service:
        program = str(Path(sys.executable).with_name("schemathesis"))
        command = [program, "run", f"{service.url}/openapi.json", "--seed", "1", "--max-examples", "10"]
        # Signing out would end the token of all calls after it.
        command += ["--exclude-operation-id", "SignOut", "--header", f"Authorization: {await service.token()}"]
        ran = await asyncio.to_thread(
            subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        paths = json.loads((files.ROOT / "openapi.json").read_text())["paths"].values()
        operations = sum(len(path) for path in paths)
        assert f"{operations - 1} selected / {operations} total" in ran.stdout
        assert "call_defect" not in service.log
