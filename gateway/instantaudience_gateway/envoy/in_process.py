"""What Envoy needs to run the service inside: pyvoy's dynamic module, and a Python to embed.

Source: the output of `pyvoy --print-envoy-config` and `--print-envoy-entrypoint`.
"""

import importlib.util
import os
import sys
from pathlib import Path

import find_libpython

PACKAGES = ("instantaudience_server", "instantaudience_gateway", "instantaudience")


def module_path() -> Path:
    """The path of the dynamic module that Envoy loads."""
    spec = importlib.util.find_spec("pyvoy._pyvoy")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyvoy is installed without its native module")
    return Path(spec.origin)


def libpython() -> Path | None:
    """The path of this interpreter's shared library; None if it was built without one, and so cannot be embedded."""
    found = (Path(path) for path in find_libpython.candidate_paths())
    return next((path for path in found if path.exists() and path.name.startswith("libpython")), None)


def missing() -> str | None:
    """Why the service cannot run inside Envoy on this machine; None if it can."""
    if sys.platform != "linux":
        return "it is made for Linux"
    if libpython() is None:
        return "this Python has no shared libpython"
    if importlib.util.find_spec("pyvoy._pyvoy") is None:
        return "pyvoy has no native module for this machine"
    return None


def environment() -> dict[str, str]:
    """The process environment, with what makes the embedded Python equal to this one: prefix, path, library and
    encoding."""
    library = libpython()
    if library is None:
        raise RuntimeError("this Python has no shared libpython")
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
        "PYTHONPATH": os.pathsep.join(path for path in (*sys.path, *_places()) if path),
        # An embedded Python does not enable UTF-8 mode for the C locale, as a normal one does (PEP 540).
        **({"LC_ALL": "C.UTF-8"} if sys.flags.utf8_mode else {}),
    }


def _places() -> list[str]:
    """The directories of our packages. In a checkout they are found by `.pth` files, which Debian's Python does not
    read when embedded: it does not recognise the virtual environment, and looks in dist-packages only."""
    specs = [spec for name in PACKAGES if (spec := importlib.util.find_spec(name)) is not None]
    return [str(Path(place).parent) for spec in specs for place in spec.submodule_search_locations or ()]
