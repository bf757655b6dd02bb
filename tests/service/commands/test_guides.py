"""The guides, and the API's Python: each example runs as it stands, and prints what the document says."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from instantaudience_server.commands.demo import demo_curl_line
from support.documents import ROOT, assert_examples_hold
from support.service import Service, running_service


@pytest.fixture(scope="module")
async def fresh() -> AsyncIterator[Service]:
    """As `make run` has it, with the demo catalog and its limits, and as the README's first call leaves it.

    For these documents alone: `demo` may sign in ten times in five minutes, and they need nine of these. There is one
    worker: readers take longer from an example that changes the catalog to the next one than others take to know it.
    """
    async with running_service("--demo", "--workers", "1", catalog="") as running:
        (first_call,) = re.findall(r"rt-segment -d '(.*)'$", demo_curl_line(running.url))
        async with running.http(headers={"authorization": await running.token()}) as http:
            (await http.post("/rt-segment", content=first_call)).raise_for_status()
        yield running


def test_examples_of_one_document_leave_room_for_those_of_another() -> None:
    """A code is a segment's alone: whoever follows two documents would be refused."""
    texts = [(ROOT / document).read_text() for document in ("README.md", "docs/api.md", "docs/operations.md")]
    made = re.findall(r'segment add .*--code (\w+)|segment": {"code": "(\w+)"|Segment\(code="(\w+)"', "\n".join(texts))
    codes = ["".join(each) for each in made]
    assert len(codes) == len(set(codes)) == 4


@pytest.mark.parametrize("guide", ["api", "migrating", "bulk-loading", "errors", "quick-start"])
async def test_its_examples_hold(fresh: Service, tmp_path: Path, guide: str) -> None:
    await assert_examples_hold(f"docs/{guide}.md", fresh, tmp_path)
