"""The guides, and the API's Python: each example runs as it stands, and prints what the document says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.documents import assert_examples_hold
from support.service import Service, running_service


@pytest.fixture(scope="module")
async def fresh() -> AsyncIterator[Service]:
    """As `make run` has it, with the demo catalog and its limits.

    For these documents alone: `demo` may sign in ten times in five minutes, and they need nine of these.
    """
    async with running_service("--demo", catalog="") as running:
        yield running


@pytest.mark.parametrize("guide", ["api", "migrating", "bulk-loading", "errors", "quick-start"])
async def test_its_examples_hold(fresh: Service, tmp_path: Path, guide: str) -> None:
    await assert_examples_hold(f"docs/{guide}.md", fresh, tmp_path)
