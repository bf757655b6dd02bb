"""The guides, and the API's Python: each example runs as it stands, and prints what the document says."""

import asyncio
import os
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from instantaudience_server.commands.connection.demo import demo_curl_line
from support.service.running import Service, running_service

ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SECONDS = 60


@dataclass(frozen=True)
class Example:
    """A block of `sh` or `python`, and the block without a language that follows it at once."""

    language: str
    text: str
    output: str | None
    """What it prints, with `…` for what may be anything; None where the document does not say."""


def examples(document: str) -> list[Example]:
    """Those of a document, in its order."""
    text = (ROOT / document).read_text()
    blocks = list(_BLOCK.finditer(text))
    found = []
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[2] in ("sh", "python"):
            shown = following and not following[2] and not text[block.end() : following.start()].strip()
            output = textwrap.dedent(following[3]) if following and shown else None
            found.append(Example(block[2], textwrap.dedent(block[3]), output))
    return found


async def assert_examples_hold(document: str, service: Service, directory: Path) -> None:
    """Carry out a document's examples in their order, in one shell; each ends well and prints what the document says.

    `TOKEN` is one of the account `demo`, unless an example asks for another; Python's have it as their argument.
    """
    found = examples(document)
    assert found, f"{document} has no examples"
    separator = "\x1e"
    lines = ["set -euo pipefail"]
    for example in found:
        text = example.text.replace("127.0.0.1:50051", service.grpc_address)
        text = text.replace("127.0.0.1:8080", service.http_address)
        lines.append(text if example.language == "sh" else f"python - \"$TOKEN\" <<'PYTHON'\n{text}PYTHON")
        lines.append(f"printf '{separator}'")
    settings = {name: str(directory / name) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    settings |= {"INSTANT_AUDIENCE_URL": service.url, "COLUMNS": "120", "TOKEN": await service.token()}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        "\n".join(lines),
        cwd=directory,
        env=os.environ | settings | {"PATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    printed = output.decode().split(separator)[:-1]
    assert (process.returncode, len(printed)) == (0, len(found)), errors.decode()
    for example, shown in zip(found, printed, strict=True):
        if example.output is not None:
            assert _pattern(example.output).fullmatch(_joined(shown)), f"{example.text}prints\n{shown}"


def _pattern(output: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in _joined(output).split("…")))


def _joined(lines: str) -> str:
    """Without the ends of lines: what `curl` prints has none."""
    return "".join(lines.splitlines())


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
