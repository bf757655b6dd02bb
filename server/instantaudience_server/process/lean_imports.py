"""Imports without what packages take in wherever it is installed, and nobody here uses."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any

UNUSED = ("httpx._main", "opentelemetry.sdk.metrics")
"""A command line of httpx's own, and what redis-py measures itself with."""
UNUSED_BY_PROCESSES = (*UNUSED, "rich")
"""Those of the service show nothing on terminals; structlog would import what is for them."""


@contextlib.contextmanager
def lean_imports(unused: tuple[str, ...]) -> Iterator[None]:
    """In the block, these modules cannot be imported, and no garbage is collected, as what is imported stays.

    Without it, a worker's imports take a fifth longer.
    """
    kept = {name: module for name in unused if (module := sys.modules.get(name)) is not None}
    collected = gc.isenabled()
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(unused))  # None: there is none
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
        for name in unused:
            del modules[name]
        modules.update(kept)
