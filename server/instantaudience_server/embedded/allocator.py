"""Chooses the memory allocator of the nodes.

A command of many fields allocates and frees hundreds of small blocks. With glibc's allocator, once users have come and
gone, that takes more than a third of a node's time (docs/adr/0007-embedded-cluster.md).
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from instantaudience_server.process.processes import bare

PRELOADED = "LD_PRELOAD"
TUNABLES = "GLIBC_TUNABLES"
LIBRARY = "libmimalloc.so"
KEPT_CHUNKS = "glibc.malloc.tcache_count=4000"
"""For nodes without the library: how many chunks of each small size glibc's allocator caches, instead of seven."""
_EXTENSION = "instantaudience_native"
_SEPARATORS = " :"
"""The separators of libraries in LD_PRELOAD; they cannot be quoted in a path (ld.so(8))."""


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node: what it needs of this process's (`ours`), and the allocator. Settings for allocators
    in `ours` take precedence."""
    library = _library()
    return {
        **bare(ours),
        TUNABLES: ":".join(filter(None, (KEPT_CHUNKS, ours.get(TUNABLES)))),
        **({} if library is None else {PRELOADED: " ".join(filter(None, (ours.get(PRELOADED), library)))}),
    }


def _library() -> str | None:
    """The path of the mimalloc library that comes with the native extension; None where that is not built, or the path
    cannot be in LD_PRELOAD."""
    spec = importlib.util.find_spec(_EXTENSION)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(LIBRARY)
    return str(path) if path.exists() and not any(each in str(path) for each in _SEPARATORS) else None
