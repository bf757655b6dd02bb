"""What Envoy needs to run the service inside itself: pyvoy's dynamic module, and a Python to embed.

Source: what `pyvoy --print-envoy-config` and `--print-envoy-entrypoint` print.
"""

import importlib.util
import os
import sys
from pathlib import Path

import find_libpython

PACKAGES = ("instantaudience_server", "instantaudience_gateway", "instantaudience")


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
    """Our environment, with what makes the embedded Python this one: its prefix, path, library and encoding."""
    library = libpython()
    if library is None:
        raise RuntimeError("this Python has no shared libpython")
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
        "PYTHONPATH": os.pathsep.join(path for path in (*sys.path, *_places()) if path),
        # A Python that is embedded has no UTF-8 mode of its own, in which ours is where the locale is C (PEP 540).
        **({"LC_ALL": "C.UTF-8"} if sys.flags.utf8_mode else {}),
    }


def _places() -> list[str]:
    """Where our packages are. Those of a checkout are found by `.pth` files, which Debian's Python does not read where
    it is embedded: it takes itself for none of a virtual environment, and looks in dist-packages alone."""
    specs = [spec for name in PACKAGES if (spec := importlib.util.find_spec(name)) is not None]
    return [str(Path(place).parent) for spec in specs for place in spec.submodule_search_locations or ()]
