"""Links of the documents lead to something that is there, and so do names of files and sections, in comments too."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    each.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "clients/*/README.md", "deploy/**/*.md")
    for each in ROOT.glob(pattern)
)
NOT_OURS = {"target", "node_modules", "third_party", "page"}
NAMED = re.compile(r"`((?:[\w.-]+/)*\w+\.(?:py|rs|lua))`")
SECTION = re.compile(r'(docs/[\w/-]+\.md|CONTRIBUTING\.md), "([^"]+)"')
BROKEN = re.compile(r"\n *(?:#|//[/!]?|--)? *")
"""Where a line of code ends within a comment."""
FENCED = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)


def titles(document: Path) -> list[str]:
    """Its sections."""
    return re.findall(r"^#+ (.*)$", FENCED.sub("", document.read_text()), re.MULTILINE)


def headings(document: Path) -> set[str]:
    """What links may name after `#`."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles(document)}


def test_its_links_lead_somewhere(subtests: pytest.Subtests) -> None:
    for document in DOCUMENTS:
        with subtests.test(document=document):
            text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", (ROOT / document).read_text()))
            for link in re.findall(r"\]\(([^)\s]+)\)", text):
                path, _, heading = link.partition("#")
                if "://" in path:
                    continue
                target = (ROOT / document).parent / path if path else ROOT / document
                assert target.exists(), link
                assert not heading or heading in headings(target), link


def sources() -> Iterator[str]:
    """The files of the code."""
    for top in ("bench", "clients", "gateway", "server", "tests", "tools"):
        for directory, inner, names in os.walk(ROOT / top):
            inner[:] = [each for each in inner if each not in NOT_OURS]
            yield from (f"{directory}/{name}" for name in names if name.endswith((".py", ".rs", ".lua")))


SOURCES = list(sources())
ENDINGS = {"/".join(parts[start:]) for parts in (path.split("/") for path in SOURCES) for start in range(len(parts))}


def missing(path: Path | str) -> list[str]:
    """The files that one names, by any part of their way, and that are not there."""
    named = [name.lstrip("./") for name in NAMED.findall((ROOT / path).read_text()) if name.islower()]
    return [name for name in named if name not in ENDINGS]


def test_the_files_that_it_names_are_there(subtests: pytest.Subtests) -> None:
    for document in DOCUMENTS:
        with subtests.test(document=document):
            assert missing(document) == []


def test_the_files_that_comments_name_are_there() -> None:
    assert {path: found for path in SOURCES if (found := missing(path))} == {}


def test_the_sections_that_texts_and_comments_name_are_there() -> None:
    """What `doctor` says leads to some."""
    named = {found for path in SOURCES for found in SECTION.findall(BROKEN.sub(" ", Path(path).read_text()))}
    assert ("docs/cluster.md", "An own Redis Cluster") in named
    assert [(path, title) for path, title in named if title not in titles(ROOT / path)] == []


def test_the_texts_that_operators_look_for_are_the_services() -> None:
    """In docs/operations.md, "What to do when …": in backquotes, with `…` for what differs."""
    section = (ROOT / "docs/operations.md").read_text().partition("\n## What to do when …\n")[2].partition("\n## ")[0]
    starting, failing = (
        " ".join(section.partition(title)[2].partition("\n\n")[0].split())
        for title in ("**It does not start.**", "**503s.**")
    )
    quoted = [text for text in re.findall(r"`([^`]+)`", starting + failing) if " " in text]
    parts = {part.strip(" ,") for text in quoted for part in text.split("…")} - {"", "runs Redis 7."}
    ours = (ROOT / top for top in ("server/instantaudience_server", "gateway/instantaudience_gateway"))
    code = "".join(path.read_text() for top in ours for path in top.rglob("*.py"))
    assert len(parts) > 10
    assert [part for part in parts if part not in code] == []
