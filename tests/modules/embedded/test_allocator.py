import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from instantaudience_server.embedded.allocator import KEPT_CHUNKS, LIBRARY, PRELOADED, TUNABLES, environment
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.transport.hosts import native

pytestmark = pytest.mark.process


@pytest.fixture
def extension(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the native extension is taken to be installed: a directory of the name that a test gives."""
    directory = tmp_path / getattr(request, "param", native.EXTENSION)
    directory.mkdir()
    spec = ModuleSpec(native.EXTENSION, None, origin=str(directory / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == native.EXTENSION else None)
    return directory


@pytest.fixture
def library(extension: Path) -> str:
    (extension / LIBRARY).touch()
    return str(extension / LIBRARY)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ({}, KEPT_CHUNKS),
        ({TUNABLES: ""}, KEPT_CHUNKS),
        ({TUNABLES: "glibc.malloc.mxfast=64"}, f"{KEPT_CHUNKS}:glibc.malloc.mxfast=64"),
    ],
)
def test_without_the_extension_nodes_have_glibcs_allocator_and_what_it_keeps(
    ours: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert environment({"HOME": "/a", "AWS_SECRET_ACCESS_KEY": "s3cret", **ours}) == {"HOME": "/a", TUNABLES: expected}


def test_what_the_extension_brings_along_is_preloaded(library: str) -> None:
    assert environment({})[PRELOADED] == library


def test_what_we_have_preloaded_comes_first(library: str) -> None:
    assert environment({PRELOADED: "libjemalloc.so.2"})[PRELOADED] == f"libjemalloc.so.2 {library}"


def test_an_extension_of_a_system_that_it_makes_no_library_for_is_none(extension: Path) -> None:
    assert PRELOADED not in environment({})


@pytest.mark.parametrize("extension", ["with a space", "with:colon"], indirect=True)
def test_what_could_not_be_named_to_the_loader_is_not_preloaded(library: str) -> None:
    assert PRELOADED not in environment({})


@pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
async def test_nodes_have_it_loaded_and_say_nothing_of_it(tmp_path: Path) -> None:
    cluster = EmbeddedCluster(tmp_path)
    await cluster.start()
    try:
        loaded = [_loaded(node.child.pid) for node in cluster.nodes]
        logged = [node.log.read_text() for node in cluster.nodes]
    finally:
        await cluster.stop()
    assert all(LIBRARY in each for each in loaded)
    assert not any(LIBRARY in each for each in logged)


def _loaded(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()
