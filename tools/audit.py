"""Asks for known weaknesses of the locked packages: `python tools/audit.py` fails where there is one.

The package index itself tells them. A mirror mostly does not, and without a network nobody does: then nothing is
audited, and this says so.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
ASK = ("uv", "tool", "run", "pip-audit@2.10.1", "--disable-pip", "--require-hashes", "--progress-spinner", "off")


def main() -> None:
    """Print how many packages are known to have none, or fail."""
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
    """What pip-audit says of each package; nothing, where it has broken off."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except json.JSONDecodeError:
        return []
    return packages


if __name__ == "__main__":
    main()
