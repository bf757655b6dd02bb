"""What `make check` makes of known weaknesses. Here stands a script for what asks, as no index at hand has any."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / "tools/audit.py"
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
WEAK = {"name": "weak", "version": "2.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
CASES: dict[str, tuple[list[dict[str, Any]] | None, int, str]] = {
    "one is weak": ([SOUND, WEAK, UNKNOWN], 1, "weak 2.0: PYSEC-1, PYSEC-2"),
    "none is": ([SOUND, UNKNOWN], 0, "1 of 2 packages"),
    "nobody knows": ([UNKNOWN, UNKNOWN], 0, "not audited"),
    "nobody can be asked": (None, 0, "not audited"),
}


@pytest.mark.parametrize("case", CASES)
def test_weaknesses_are_told(tmp_path: Path, case: str) -> None:
    told, status, text = CASES[case]
    answer = "no network" if told is None else json.dumps({"dependencies": told})
    (tmp_path / "uv").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "uv").chmod(0o755)
    made = subprocess.run(
        [sys.executable, AUDIT], capture_output=True, text=True, check=False, env={"PATH": f"{tmp_path}:/bin:/usr/bin"}
    )
    assert made.returncode == status
    assert text in made.stdout + made.stderr
