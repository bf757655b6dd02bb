"""The layout is what the documents show of it."""

import ast
import re
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["CONTRIBUTING.md", "docs/architecture.md"]
TOP_LEVEL = [ROOT / "server/instantaudience_server", ROOT / "gateway/instantaudience_gateway"]
PACKAGES = sorted(each.parent for top in TOP_LEVEL for each in top.glob("*/**/__init__.py"))
"""The packages in them."""
ALL = re.compile(r"\bevery\b|\bpackages of the services\b")
"""How one says that it has to do with whatever there is."""


def path_of(package: Path) -> str:
    """Where a package is, as seen from the top-level one; so are its tests as seen from tests/modules."""
    return next(str(package.relative_to(top)) for top in TOP_LEVEL if top in package.parents)


def picture(document: str) -> str:
    """The picture of the packages."""
    (found,) = re.findall(r"```\n(commands  .*?)```", (ROOT / document).read_text(), re.DOTALL)
    return str(found)


def layers() -> list[str]:
    """The layers of the packages that are enforced, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (each["layers"] for each in contracts if each.get("containers") == ["instantaudience_server"])
    return list(found)


def test_there_is_one_picture() -> None:
    assert picture(DOCUMENTS[0]) == picture(DOCUMENTS[1])


def test_it_has_the_layers_that_are_enforced() -> None:
    shown = " ".join(line.split("  ")[0] for line in picture(DOCUMENTS[0]).splitlines())
    assert re.findall(r"\w+", shown) == [name for layer in layers() for name in re.findall(r"\w+", layer)]


def test_a_package_says_what_it_is_what_it_uses_and_who_uses_it(subtests: pytest.Subtests) -> None:
    for package in PACKAGES:
        with subtests.test(package=package):
            said = ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
            assert said is not None
            assert re.fullmatch(r".+\. May use .+\. Used by .+\.", " ".join(said.split()))


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*(top.name for top in TOP_LEVEL))


@pytest.mark.parametrize("package", PACKAGES, ids=path_of)
def test_a_package_names_those_that_it_uses_and_that_use_it(package: Path, imports: grimp.ImportGraph) -> None:
    """Other packages beside it, but for those at the bottom, which all may use."""
    (top,) = (each.name for each in TOP_LEVEL if each in package.parents)
    name = ".".join((top, *Path(path_of(package)).parts))
    modules = {name, *imports.find_descendants(name)}
    bottom = layers()[layers().index("process | settings") :]
    passed_by = {Path(path_of(package)).parts[0], *re.findall(r"\w+", " ".join(bottom))}
    said = " ".join((ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or "").split())
    for ways, words in zip(
        (imports.find_modules_directly_imported_by, imports.find_modules_that_directly_import),
        said.partition("May use ")[2].split(" Used by ", 1),
        strict=True,
    ):
        found = {each.split(".")[1] for module in modules for each in ways(module) if each.startswith(f"{top}.")}
        assert ALL.search(words) or found - passed_by <= set(re.findall(r"\w+", words))


def test_tests_are_where_the_rule_says() -> None:
    """Each directory of tests/modules is a package."""
    tests = ROOT / "tests/modules"
    directories = {str(each.parent.relative_to(tests)) for each in tests.glob("*/**/test_*.py")}
    assert directories <= {path_of(package) for package in PACKAGES}
