"""The crates of the native host and the load generator: `python tools/crates.py restore` creates Cargo.lock.

A lock file names the registry's host, which files of this repository must not. So git has a list of crates without it,
and cargo itself is asked for its registry.
"""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

CRATE = Path(__file__).parents[1] / "server/native"
LOCK, LIST = CRATE / "Cargo.lock", CRATE / "crates.txt"
LOCK_VERSION = 4
HEAD = """\
# Made by `make lock`. Each crate that the native host and the load generator are built of: its version, the SHA-256 of
# its package (- for our own), and the crates that it needs in turn.
"""
Crate = dict[str, Any]


def locked() -> list[Crate]:
    """The crates in Cargo.lock."""
    lock = tomllib.loads(LOCK.read_text())
    assert lock["version"] == LOCK_VERSION, "cargo writes another format now: see what has changed"
    crates: list[Crate] = lock["package"]
    return crates


def listed() -> list[Crate]:
    """The crates in crates.txt, as in Cargo.lock but without their source."""
    crates = []
    for line in LIST.read_text().splitlines():
        if line.startswith("#"):
            continue
        words, _, needs = line.partition(" < ")
        name, version, checksum = words.split(" ")
        crate: Crate = {"name": name, "version": version}
        if checksum != "-":
            crate["checksum"] = checksum
        if needs:
            crate["dependencies"] = needs.split(", ")
        crates.append(crate)
    return crates


def new_list() -> str:
    """The text of crates.txt for the crates in Cargo.lock."""
    lines = []
    for crate in locked():
        line = f"{crate['name']} {crate['version']} {crate.get('checksum', '-')}"
        needs = ", ".join(crate.get("dependencies", []))
        lines.append(f"{line} < {needs}" if needs else line)
    return HEAD + "".join(f"{line}\n" for line in lines)


def lock_of(crates: list[Crate], source: str) -> str:
    """The text of Cargo.lock, with one source for all crates that are not ours."""
    text = f"version = {LOCK_VERSION}\n"
    for crate in crates:
        text += f'\n[[package]]\nname = "{crate["name"]}"\nversion = "{crate["version"]}"\n'
        if "checksum" in crate:
            text += f'source = "{source}"\nchecksum = "{crate["checksum"]}"\n'
        if "dependencies" in crate:
            text += "dependencies = [\n" + "".join(f' "{name}",\n' for name in crate["dependencies"]) + "]\n"
    return text


def restore() -> None:
    """Create Cargo.lock."""
    if LOCK.exists() and new_list() == LIST.read_text():
        return
    LOCK.unlink(missing_ok=True)
    subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=CRATE, check=True)
    (source,) = {crate["source"] for crate in locked() if "source" in crate}
    LOCK.write_text(lock_of(listed(), source))


def write() -> None:
    """Create crates.txt."""
    LIST.write_text(new_list())


def check() -> None:
    """Compare the two files, and Cargo.lock with Cargo.toml."""
    tree = ["cargo", "metadata", "--locked", "--format-version", "1"]
    subprocess.run(tree, cwd=CRATE, check=True, stdout=subprocess.DEVNULL)
    if new_list() != LIST.read_text():
        sys.exit("server/native/crates.txt differs from what would be built: run `make lock`")


if __name__ == "__main__":
    {"restore": restore, "write": write, "check": check}[sys.argv[1]]()
