"""Checks the locked packages for known vulnerabilities: `python tools/audit.py` fails if there are any.

The package index provides the data; mirrors usually do not. Without it, or without a network, nothing is audited, and
the output says so.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
ASK = ("uv", "tool", "run", "pip-audit@2.10.1", "--disable-pip", "--require-hashes", "--progress-spinner", "off")


def main() -> None:
    """Print how many packages have no known vulnerabilities, or fail."""
    told = subprocess.run(
        [*ASK, "--format", "json", "--requirement", LOCK], capture_output=True, text=True, check=False
    )
    packages = _packages(told.stdout)
    audited = [each for each in packages if "vulns" in each]
    if not audited:
        sys.stderr.write("make: no advisories can be had here: the packages are not audited\n")
        return
    weak = [
        f"{each['name']} {each['version']}: {', '.join(found['id'] for found in each['vulns'])}"
        for each in audited
        if each["vulns"]
    ]
    if weak:
        sys.exit("known weaknesses of locked packages:\n" + "\n".join(weak))
    sys.stdout.write(f"{len(audited)} of {len(packages)} packages have no known weakness, others are not known\n")


def _packages(text: str) -> list[dict[str, Any]]:
    """pip-audit's result for each package; empty if it failed."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except json.JSONDecodeError:
        return []
    return packages


if __name__ == "__main__":
    main()
