"""docs/security.md names tests: they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", (ROOT / "docs/security.md").read_text())))


def test_each_threat_has_an_answer_and_a_test() -> None:
    rows = [line for line in (ROOT / "docs/security.md").read_text().splitlines() if line.startswith("| ")]
    threats = [row for row in rows if not row.startswith(("| threat", "| ---"))]
    assert len(threats) > 30
    for row in threats:
        threat, answer, test = row.strip("| ").split(" | ")
        assert threat
        assert answer
        assert "`tests/" in test, row


def test_it_is_there(subtests: pytest.Subtests) -> None:
    for name in NAMED:
        with subtests.test(name=name):
            file, _, test = name.partition("::")
            text = (ROOT / file).read_text()
            function, _, case = test.rstrip("]").partition("[")
            if function:
                assert re.search(rf"^(async )?def {function}\(", text, re.MULTILINE)
            if case:
                assert re.search(rf'"{re.escape(case)}"|def {re.escape(case)}\(|\w\.{re.escape(case)},', text)
