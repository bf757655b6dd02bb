"""The dependencies of the clients in other languages: name, version and licence of each.

npm's licences are in the lock files, those of Go modules in their licence texts, those of Maven artifacts in their
POMs.
"""

import json
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from pages import licence_in

ROOT = Path(__file__).parents[1]
MAVEN_LIST = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:list"
POM = "{http://maven.apache.org/POM/4.0.0}"
Part = tuple[str, str, str]


def npm_packages(*locks: str, dev: bool = True) -> list[Part]:
    """The packages in npm lock files, with or without development dependencies."""
    packages = [each for path in locks for each in json.loads((ROOT / path).read_text())["packages"].items()]
    return sorted(
        {
            (path.rpartition("node_modules/")[2], each["version"], each.get("license", "not told"))
            for path, each in packages
            if path and (dev or not each.get("dev"))
        }
    )


def go_modules() -> list[Part]:
    """The modules of the Go client; empty if Go is not installed."""
    if shutil.which("go") is None:
        return []
    form = "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}"
    words = ["go", "list", "-deps", "-f", form, "./..."]
    made = subprocess.run(words, cwd=ROOT / "clients/go", stdout=subprocess.PIPE, check=True, text=True)
    modules = sorted({(*each.split(),) for each in made.stdout.splitlines() if each})
    return [(name, version, licence_in(Path(where) / "LICENSE")) for name, version, where in modules]


def maven_artifacts() -> list[Part]:
    """The artifacts of the Java client, as `group:name`; empty if Maven is not installed."""
    if shutil.which("mvn") is None:
        return []
    with tempfile.NamedTemporaryFile("r") as file:
        options = ("-DincludeScope=runtime", "-DoutputAbsoluteArtifactFilename=true", f"-DoutputFile={file.name}")
        subprocess.run(["mvn", "-q", "-B", MAVEN_LIST, *options], cwd=ROOT / "clients/java", check=True)
        found = re.findall(r"^ +([\w.-]+):([\w.-]+):jar:([^:]+):\w+:(\S+)\.jar", file.read(), re.MULTILINE)
    return sorted(
        (f"{group}:{name}", version, _pom_licence(Path(f"{where}.pom"), group)) for group, name, version, where in found
    )


def _pom_licence(pom: Path, group: str) -> str:
    """The licence in a POM, or else in its parent POM."""
    root = ET.parse(pom).getroot()
    names = [each.text or "" for each in root.iterfind(f"{POM}licenses/{POM}license/{POM}name")]
    parent = root.find(f"{POM}parent")
    if names or parent is None:
        return "; ".join(names) or "not told"
    above, name, version = (parent.findtext(f"{POM}{tag}", "") for tag in ("groupId", "artifactId", "version"))
    repository = pom.parents[2 + len(group.split("."))]
    return _pom_licence(repository.joinpath(*above.split("."), name, version, f"{name}-{version}.pom"), above)
