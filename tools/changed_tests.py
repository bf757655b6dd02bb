"""Runs the tests of what differs from a commit: `python tools/changed_tests.py [COMMIT]`, by default the last one.

CONTRIBUTING.md, "Tests", describes how they are chosen.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = {"server": "instantaudience_server", "gateway": "instantaudience_gateway"}
ROOMS = Path("tests/rooms")
SERVICE = Path("tests/service")
CLIENT, CLIENT_TESTS = Path("clients/python/instantaudience"), Path("tests/clients/python")
SECONDS = 55
"""No test is started after this time."""


def changed(commit: str) -> list[Path]:
    """Files that differ from the commit, including untracked ones.

    Raises:
        SystemExit: git cannot tell; it has said why.
    """
    commands = (["git", "diff", "--name-only", commit], ["git", "ls-files", "--others", "--exclude-standard"])
    try:
        listed = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for command in commands]
    except subprocess.CalledProcessError:
        sys.exit(f"git cannot tell what differs from {commit}")
    return [Path(line) for lines in listed for line in lines.splitlines()]


def tests_of(path: Path) -> Iterator[Path]:
    """The tests to run for a changed file."""
    if path.parts[0] == "tests":
        if path.name.startswith("test_"):
            yield path
        elif path.name == "conftest.py" and ROOMS in path.parent.parents:
            yield path.parent
        return
    if path.suffix == ".md":
        yield ROOMS / "test_documents.py"
    if path.parts[0] == "deploy":
        yield Path("tests/deploy")
    if path.parent == CLIENT and path.suffix == ".py":
        yield from list(CLIENT_TESTS.glob(f"test_{path.stem}.py")) or [CLIENT_TESTS]
    if path.parts[0] not in PACKAGES or path.parts[1] != PACKAGES[path.parts[0]]:
        return
    *packages, name = path.parts[2:]
    module = Path(name).stem
    found = [
        test
        for directory in (ROOMS.joinpath(*packages), SERVICE.joinpath(*packages[:1]))
        for pattern in (f"test_{module}.py", f"test_{module}_*.py")
        for test in directory.glob(pattern)
    ]
    yield from found
    if packages and not found:
        package = ".".join([PACKAGES[path.parts[0]], *packages])
        imports = re.compile(rf"\b{package}(\.{module} import| import (.*\b)?{module}\b)")
        users = [test for test in (ROOMS / packages[0]).rglob("test_*.py") if imports.search(test.read_text())]
        around = [ROOMS.joinpath(*packages[:depth]) for depth in range(len(packages), 0, -1)]
        yield from users or [directory for directory in around if directory.is_dir()][:1]


class Bound:
    """A pytest plugin that starts no tests after the time limit, and reports how many were left out."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS
        self._left_out = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        """Skip a test after the time limit."""
        if time.monotonic() < self._end:
            return None
        self._left_out += 1
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report how many tests were left out."""
        if self._left_out:
            terminalreporter.write_line(f"{SECONDS} seconds were over: {self._left_out} tests were not run")


def main() -> None:
    """Choose the tests, print and run them."""
    os.chdir(Path(__file__).parents[1])
    commit = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    tests = sorted({str(test) for path in changed(commit) for test in tests_of(path) if test.exists()})
    if not tests:
        sys.exit(f"Nothing that differs from {commit} has tests of its own. `make test` runs everything.")
    sys.stdout.write("\n".join(["Running", *(f"  {test}" for test in tests), ""]))
    sys.stdout.flush()
    sys.exit(pytest.main(["-q", *tests], [Bound()]))


main()
