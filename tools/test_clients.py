"""Builds and tests the clients, each by its language's own tools, against a live service on every host.

`make test-clients`; for one of them, or on one host: `make test-clients CLIENTS=go HOSTS=native`. What the tests find
in their environment is described in clients/conformance/README.md.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from support.clients.conformance import surroundings  # noqa: E402  # needs the path above
from support.service.running import HOST_MODES  # noqa: E402


@dataclass(frozen=True)
class Language:
    """How a client is built and tested; commands run in its directory."""

    tools: tuple[tuple[str, str], ...]
    """Each command that is needed, and what to install where it is missing."""
    prepare: tuple[tuple[str, ...], ...]
    """What needs no service."""
    test: tuple[str, ...] = ()
    """Every test, on the first host."""
    conformance: tuple[str, ...] = ()
    """What the hosts could differ in, on the others."""
    directory: str = ""
    """Where it is; else in `clients/`, under its name."""


def _python(resolution: str) -> tuple[str, ...]:
    """The Python client with the lowest or the highest versions that it allows."""
    tables = ("--with", "pandas>=2.3", "--with", "polars>=1.30", "--with", "pyarrow>=20")
    packages = ("--with", ".[keys,tables,telemetry]", *tables)
    script = "../../tests/clients/python/versions.py"
    return (
        "uv",
        "run",
        "--quiet",
        "--isolated",
        "--no-project",
        "--resolution",
        resolution,
        *packages,
        "python",
        script,
    )


_LEGACY_PYTHON = (
    *("uv", "run", "--quiet", "--isolated", "--no-project", "--with-requirements", "requirements.txt"),
    *("python", "-m", "pytest", "-q"),
)

LANGUAGES = {
    # What else there is to test of it, `make test` does.
    "python": Language(
        tools=(("uv", "uv (`make setup` does)"),),
        prepare=(_python("lowest-direct"), _python("highest")),
        conformance=(sys.executable, "-m", "pytest", "-q", str(PROJECT / "tests/clients/python/test_conformance.py")),
    ),
    # Its types, by the strictest rules of another checker than `make check` has.
    "python-types": Language(
        tools=(("node", "Node.js 20 or newer"), ("npm", "npm")),
        prepare=(("npm", "ci", "--no-audit", "--no-fund"), ("npm", "test")),
        directory="tests/clients/python",
    ),
    "go": Language(
        tools=(("go", "Go 1.26 or newer"),),
        prepare=(("sh", "-c", 'gofmt -l . >&2 && test -z "$(gofmt -l .)"'), ("go", "vet", "./...")),
        test=("go", "test", "-count=1", "./..."),
        # The first host is tested with the oldest libraries that go.mod allows, the others with the newest known.
        conformance=("go", "test", "-count=1", "-modfile=highest.mod", "-run", "^TestConformance$", "."),
    ),
    "typescript": Language(
        tools=(("node", "Node.js 20 or newer"), ("npm", "npm")),
        prepare=(("npm", "ci", "--no-audit", "--no-fund"),),
        test=("npm", "test"),
        conformance=("npm", "run", "conformance"),
    ),
    "java": Language(
        tools=(("java", "a JDK, 17 or newer"), ("mvn", "Maven")),
        prepare=(("mvn", "-q", "-B", "spotless:check"),),
        test=("mvn", "-q", "-B", "verify"),
        # What the first host was tested with is built.
        conformance=("mvn", "-q", "-B", "surefire:test", "-Dtest=ConformanceTest"),
    ),
    # Programs that others have: grpcurl, buf curl, ghz, grpc-health-probe.
    "callers": Language(
        tools=(("go", "Go 1.26 or newer"),),
        prepare=(),
        test=("go", "test", "-count=1", "."),
        conformance=("go", "test", "-count=1", "."),
        directory="tests/clients/callers",
    ),
    # Clients of the original platform. What they meet is the gateway's, and the same on every host.
    "legacy-python": Language(
        tools=(("uv", "uv (`make setup` does)"),),
        prepare=(),
        test=_LEGACY_PYTHON,
        directory="tests/legacy/python",
    ),
    "legacy-typescript": Language(
        tools=(("node", "Node.js 20 or newer"), ("npm", "npm")),
        prepare=(("npm", "ci", "--no-audit", "--no-fund"),),
        test=("npm", "test"),
        directory="tests/legacy/typescript",
    ),
}


def directory(name: str) -> Path:
    """Where a client is."""
    return PROJECT / (LANGUAGES[name].directory or f"clients/{name}")


def chosen(languages: list[str]) -> list[str]:
    """The clients to test: those named, or all that are there.

    Raises:
        SystemExit: one is unknown, or what it needs is missing.
    """
    if unknown := sorted(set(languages) - set(LANGUAGES)):
        sys.exit(f"there is no client {', '.join(unknown)}; there are {', '.join(LANGUAGES)}")
    names = languages or [name for name in LANGUAGES if directory(name).is_dir()]
    missing = {
        f"{command} is missing: install {install}"
        for name in names
        for command, install in LANGUAGES[name].tools
        if shutil.which(command) is None
    }
    if missing:
        sys.exit("\n".join(sorted(missing)))
    return names


def run(name: str, command: tuple[str, ...], environment: dict[str, str]) -> None:
    """Run a command of a client.

    Raises:
        SystemExit: it failed.
    """
    host = environment.get("INSTANT_AUDIENCE_HOST")
    began = time.monotonic()
    print(f"{name}: {' '.join(command)}" + (f" (host {host})" if host else ""), flush=True)  # noqa: T201
    done = subprocess.run(command, cwd=directory(name), env=os.environ | environment)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    if done.returncode != 0:
        sys.exit(f"{name}: {' '.join(command)} failed")


async def main() -> None:
    """Test what the environment's CLIENTS and HOSTS name; everything, where they name nothing."""
    names = chosen(os.environ.get("CLIENTS", "").split())
    hosts = os.environ.get("HOSTS", "").split() or HOST_MODES
    if unknown := sorted(set(hosts) - set(HOST_MODES)):
        sys.exit(f"these hosts cannot run here: {', '.join(unknown)}")
    for name in names:
        for command in LANGUAGES[name].prepare:
            run(name, command, {})
    for host in hosts:
        async with surroundings(host) as environment:
            for name in names:
                language = LANGUAGES[name]
                if command := language.test if host == hosts[0] else language.conformance:
                    await asyncio.to_thread(run, name, command, environment)


if __name__ == "__main__":
    asyncio.run(main())
