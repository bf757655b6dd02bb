"""What Envoy needs to run the service inside itself: pyvoy's dynamic module, and a Python to embed.

Source: what `pyvoy --print-envoy-config` and `--print-envoy-entrypoint` print.
"""

import importlib.util
import os
import sys
from pathlib import Path

import find_libpython


def module_path() -> Path:
    """The dynamic module that Envoy loads."""
    spec = importlib.util.find_spec("pyvoy._pyvoy")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyvoy is installed without its native module")
    return Path(spec.origin)


def libpython() -> Path | None:
    """This interpreter's shared library; None when it was built without one, and so cannot be embedded."""
    found = (Path(path) for path in find_libpython.candidate_paths())
    return next((path for path in found if path.exists() and path.name.startswith("libpython")), None)


def missing() -> str | None:
    """Why the service cannot run inside Envoy here; None when it can."""
    if sys.platform != "linux":
        return "it is made for Linux"
    if libpython() is None:
        return "this Python has no shared libpython"
    if importlib.util.find_spec("pyvoy._pyvoy") is None:
        return "pyvoy has no native module for this machine"
    return None


def environment() -> dict[str, str]:
    """Our environment, with what makes the embedded Python this one: its prefix, its path and its library."""
    library = libpython()
    if library is None:
        raise RuntimeError("this Python has no shared libpython")
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
