"""Which crates the native host and the load generator are built of: `python tools/crates.py restore` makes Cargo.lock
from crates.txt, `write` crates.txt from Cargo.lock; `check` fails where they differ.

A lock file names the host that crates come from, and no file here may. So git has a list of them, and cargo itself is
asked where they come from.
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
    """The crates in crates.txt, as Cargo.lock has them but for their source."""
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
    """The text of crates.txt, as Cargo.lock has the crates."""
    lines = []
    for crate in locked():
        line = f"{crate['name']} {crate['version']} {crate.get('checksum', '-')}"
        needs = ", ".join(crate.get("dependencies", []))
        lines.append(f"{line} < {needs}" if needs else line)
    return HEAD + "".join(f"{line}\n" for line in lines)


def lock_of(crates: list[Crate], source: str) -> str:
    """The text of Cargo.lock, with everything that is not ours from one source."""
    text = f"version = {LOCK_VERSION}\n"
    for crate in crates:
        text += f'\n[[package]]\nname = "{crate["name"]}"\nversion = "{crate["version"]}"\n'
        if "checksum" in crate:
            text += f'source = "{source}"\nchecksum = "{crate["checksum"]}"\n'
        if "dependencies" in crate:
            text += "dependencies = [\n" + "".join(f' "{name}",\n' for name in crate["dependencies"]) + "]\n"
    return text


def restore() -> None:
    """Make Cargo.lock."""
    if LOCK.exists() and new_list() == LIST.read_text():
        return
    LOCK.unlink(missing_ok=True)
    subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=CRATE, check=True)
    (source,) = {crate["source"] for crate in locked() if "source" in crate}
    LOCK.write_text(lock_of(listed(), source))


def write() -> None:
    """Make crates.txt."""
    LIST.write_text(new_list())


def check() -> None:
    """Compare the two, and Cargo.lock with Cargo.toml."""
    tree = ["cargo", "metadata", "--locked", "--format-version", "1"]
    subprocess.run(tree, cwd=CRATE, check=True, stdout=subprocess.DEVNULL)
    if new_list() != LIST.read_text():
        sys.exit("server/native/crates.txt differs from what would be built: run `make lock`")


if __name__ == "__main__":
    {"restore": restore, "write": write, "check": check}[sys.argv[1]]()
