"""The layout is what the documents show of it."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["CONTRIBUTING.md", "docs/architecture.md"]
PACKAGES = [ROOT / "server/instantaudience_server", ROOT / "gateway/instantaudience_gateway"]
ROOMS = sorted(each.parent for package in PACKAGES for each in package.glob("*/**/__init__.py"))
"""The rooms, and the packages in them."""


def path_of(room: Path) -> str:
    """Where a room is, or a package in it, as seen from its package; so are its tests as seen from tests/rooms."""
    return next(str(room.relative_to(package)) for package in PACKAGES if package in room.parents)


def picture(document: str) -> str:
    """The picture of the rooms."""
    (found,) = re.findall(r"```\n(commands  .*?)```", (ROOT / document).read_text(), re.DOTALL)
    return str(found)


def test_there_is_one_picture() -> None:
    assert picture(DOCUMENTS[0]) == picture(DOCUMENTS[1])


def test_it_has_the_layers_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == ["instantaudience_server"])
    shown = " ".join(line.split("  ")[0] for line in picture(DOCUMENTS[0]).splitlines())
    assert re.findall(r"\w+", shown) == [room for layer in layers for room in re.findall(r"\w+", layer)]


@pytest.mark.parametrize("room", ROOMS, ids=path_of)
def test_a_room_says_what_it_is_what_it_uses_and_who_uses_it(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert said is not None
    assert re.fullmatch(r".+\. May use .+\. Used by .+\.", " ".join(said.split()))


def test_tests_are_where_the_rule_says() -> None:
    """Each directory of tests/rooms is a room, or a package in one."""
    tests = ROOT / "tests/rooms"
    directories = {str(each.parent.relative_to(tests)) for each in tests.glob("*/**/test_*.py")}
    assert directories <= {path_of(room) for room in ROOMS}
