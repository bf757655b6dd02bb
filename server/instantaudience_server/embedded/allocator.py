"""Which allocator the nodes have.

A command of many fields allocates and frees hundreds of small pieces. With glibc's, once users have come and gone, that
takes more than a third of a node's time (docs/adr/0007-embedded-cluster.md).
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from instantaudience_server.processes import bare

PRELOADED = "LD_PRELOAD"
TUNABLES = "GLIBC_TUNABLES"
LIBRARY = "libmimalloc.so"
KEPT_CHUNKS = "glibc.malloc.tcache_count=4000"
"""For nodes without the library: chunks of each small size that glibc's allocator keeps at hand instead of seven."""
_EXTENSION = "instantaudience_native"
_SEPARATORS = " :"
"""What stands between the libraries in LD_PRELOAD; a path with one of these cannot be quoted (ld.so(8))."""


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """A node's: what of ours it needs, and its allocator; what ours say of that counts more."""
    library = _library()
    return {
        **bare(ours),
        TUNABLES: ":".join(filter(None, (KEPT_CHUNKS, ours.get(TUNABLES)))),
        **({} if library is None else {PRELOADED: " ".join(filter(None, (ours.get(PRELOADED), library)))}),
    }


def _library() -> str | None:
    """The path of mimalloc as a library, which the native extension brings along; None where that is not built."""
    spec = importlib.util.find_spec(_EXTENSION)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(LIBRARY)
    return str(path) if path.exists() and not any(each in str(path) for each in _SEPARATORS) else None
