"""What the supervisor starts its processes with: `python -m instantaudience_server.running worker`, for example."""

import sys
from importlib import import_module

from instantaudience_server.process.lean_imports import UNUSED_BY_PROCESSES, lean_imports


def main() -> None:
    """Import the module of this package that the command line names, and run it."""
    with lean_imports(UNUSED_BY_PROCESSES):
        module = import_module(f"{__package__}.{sys.argv[1]}")
    module.main()


if __name__ == "__main__":
    main()
