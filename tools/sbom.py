"""Writes the list of all parts, for `make sbom`: `python tools/sbom.py FILE`.

The form is CycloneDX (https://cyclonedx.org/docs/1.6/json/): the packages that are installed here, as `cyclonedx-py`
finds them, the crates of the native host and of the load generator, and the libraries of the pages.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from crates import listed
from pages import libraries

ROOT = Path(__file__).parents[1]


def main(file: str) -> None:
    """Write it."""
    words = ["cyclonedx-py", "environment", "--pyproject", ROOT / "pyproject.toml", "--output-format", "JSON"]
    made = subprocess.run([*words, sys.executable], capture_output=True, check=True)
    parts: dict[str, Any] = json.loads(made.stdout)
    parts["components"] += [_component(crate) for crate in listed() if "checksum" in crate]
    parts["components"] += [_library(*each) for each in libraries()]
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(json.dumps(parts, indent=1) + "\n")
    sys.stdout.write(f"{file}: {len(parts['components'])} parts\n")


def _component(crate: dict[str, Any]) -> dict[str, Any]:
    name, version = crate["name"], crate["version"]
    return {
        "type": "library",
        "bom-ref": f"pkg:cargo/{name}@{version}",
        "purl": f"pkg:cargo/{name}@{version}",
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": crate["checksum"]}],
    }


def _library(name: str, version: str, licence: str) -> dict[str, Any]:
    purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
    licences = [{"license": {"id": licence}}]
    return {
        "type": "library",
        "bom-ref": purl,
        "purl": purl,
        "name": name,
        "version": version,
        "licenses": licences,
    }


if __name__ == "__main__":
    main(sys.argv[1])
