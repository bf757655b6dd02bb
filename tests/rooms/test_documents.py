"""Links of the documents lead to something that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    each.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "clients/*/README.md", "deploy/**/*.md")
    for each in ROOT.glob(pattern)
)
FENCED = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)


def headings(document: Path) -> set[str]:
    """What links may name after `#`."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_its_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", (ROOT / document).read_text()))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        if "://" in path:
            continue
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        assert not heading or heading in headings(target), link
