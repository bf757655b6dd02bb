"""Writes a software bill of materials, for `make sbom`: `python tools/sbom.py FILE`.

The format is CycloneDX (https://cyclonedx.org/docs/1.6/json/). It has the installed packages, as `cyclonedx-py` finds
them, the crates of the native host and the load generator, the libraries of the web pages, and the dependencies of the
clients for TypeScript, Go and Java; for the latter two, only if Go and Maven are installed.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from client_parts import go_modules, maven_artifacts, npm_packages
from crates import listed
from pages import libraries

ROOT = Path(__file__).parents[1]


def main(file: str) -> None:
    """Write the bill of materials."""
    words = ["cyclonedx-py", "environment", "--pyproject", ROOT / "pyproject.toml", "--output-format", "JSON"]
    made = subprocess.run([*words, sys.executable], stdout=subprocess.PIPE, check=True)
    parts: dict[str, Any] = json.loads(made.stdout)
    parts["components"] += [_component(crate) for crate in listed() if "checksum" in crate]
    npm = {*libraries(), *npm_packages("clients/typescript/package-lock.json", dev=False)}
    for kind, others in {"npm": sorted(npm), "golang": go_modules(), "maven": maven_artifacts()}.items():
        parts["components"] += [_library(kind, *each) for each in others]
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


def _library(kind: str, name: str, version: str, licence: str) -> dict[str, Any]:
    # In a package URL (https://github.com/package-url/purl-spec), an artifact's group is the namespace.
    purl = f"pkg:{kind}/{name.replace('@', '%40').replace(':', '/')}@{version}"
    is_spdx = re.fullmatch(r"[\w.-]+", licence)
    return {
        "type": "library",
        "bom-ref": purl,
        "purl": purl,
        "name": name,
        "version": version,
        "licenses": [{"license": {"id" if is_spdx else "name": licence}}],
    }


if __name__ == "__main__":
    main(sys.argv[1])
