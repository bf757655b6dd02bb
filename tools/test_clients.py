"""Builds and tests the clients, each with its language's own tools, against a live service on every host.

Run by `make test-clients`; for one client, or on one host: `make test-clients CLIENTS=go HOSTS=native`.
clients/conformance/README.md describes the environment of the tests.
"""

import asyncio
import contextlib
import os
import shutil
import signal
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
    """Required commands, and what to install if one is missing."""
    prepare: tuple[tuple[str, ...], ...]
    """Commands that need no service."""
    test: tuple[str, ...] = ()
    """Runs all tests, on the first host."""
    conformance: tuple[str, ...] = ()
    """Runs the tests in which hosts could differ, on the others."""
    directory: str = ""
    """The client's directory; by default its name, in `clients/`."""


def _python(resolution: str) -> tuple[str, ...]:
    """The Python client with the lowest or the highest versions that it allows."""
    tables = ("pandas>=2.3", "polars>=1.30", "pyarrow>=20")
    # The first ones that Python 3.14 needs not build.
    with_wheels = ("pandas>=2.3.3; python_version>='3.14'", "pyarrow>=22; python_version>='3.14'")
    packages = (each for name in (".[keys,tables,telemetry]", *tables, *with_wheels) for each in ("--with", name))
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
    # Its other tests are part of `make test`.
    "python": Language(
        tools=(("uv", "uv (`make setup` does)"),),
        prepare=(_python("lowest-direct"), _python("highest")),
        conformance=(sys.executable, "-m", "pytest", "-q", str(PROJECT / "tests/clients/python/test_conformance.py")),
    ),
    # Type checks by a stricter checker than in `make check`.
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
        # The build of the first host's test is reused.
        conformance=("mvn", "-q", "-B", "surefire:test", "-Dtest=ConformanceTest"),
    ),
    # Programs of third parties: grpcurl, buf curl, ghz, grpc-health-probe.
    "callers": Language(
        tools=(("go", "Go 1.26 or newer"),),
        prepare=(),
        test=("go", "test", "-count=1", "."),
        conformance=("go", "test", "-count=1", "."),
        directory="tests/clients/callers",
    ),
    # Clients of the original platform. They use only the gateway, which is the same on every host.
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
    """The directory of a client."""
    return PROJECT / (LANGUAGES[name].directory or f"clients/{name}")


def chosen(languages: list[str]) -> list[str]:
    """The clients to test: those named, or all available ones.

    Raises:
        SystemExit: a name is unknown, or a required command is missing.
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


class FailedError(Exception):
    """A command of a client failed; the message says which."""


async def run(name: str, command: tuple[str, ...], environment: dict[str, str]) -> None:
    """Run a command of a client, and print what it has printed at its end, as another one may run beside it. It is
    killed, with what it has started, when this is cancelled.

    Raises:
        FailedError: it failed.
    """
    host = environment.get("INSTANT_AUDIENCE_HOST")
    what = f"{name}: {' '.join(command)}" + (f" (host {host})" if host else "")
    began = time.monotonic()
    print(what, flush=True)  # noqa: T201
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory(name),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    print(f"{output.decode(errors='replace')}{what}: {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    if process.returncode != 0:
        raise FailedError(f"{what} failed")


async def test(host: str, commands: list[tuple[str, tuple[str, ...]]], free: dict[str, asyncio.Lock]) -> None:
    """Run commands of clients, each with its client's name, against a service on a host. A lock of `free` keeps a
    client's directory for one command at a time."""
    async with surroundings(host) as environment:
        for name, command in commands:
            async with free[name]:
                await run(name, command, environment)


async def main() -> None:
    """Test the clients and hosts named in CLIENTS and HOSTS; by default, all clients on the first host.

    Two services are asked at once, as most of these tests wait: both of the first host, with half of the clients each;
    then, of each other host, one, each beginning with another client.
    """
    names = chosen(os.environ.get("CLIENTS", "").split())
    hosts = os.environ.get("HOSTS", "").split() or HOST_MODES[:1]
    if unknown := sorted(set(hosts) - set(HOST_MODES)):
        sys.exit(f"these hosts cannot run here: {', '.join(unknown)}")
    for name in names:
        for command in LANGUAGES[name].prepare:
            await run(name, command, {})
    free = {name: asyncio.Lock() for name in names}
    whole = [(name, command) for name in names if (command := LANGUAGES[name].test)]
    async with asyncio.TaskGroup() as group:
        for half in filter(None, (whole[::2], whole[1::2])):
            group.create_task(test(hosts[0], half, free))
    others = [(name, command) for name in names if (command := LANGUAGES[name].conformance)]
    async with asyncio.TaskGroup() as group:
        for number, host in enumerate(hosts[1:]):
            first = number * len(others) // (len(hosts) - 1)
            group.create_task(test(host, others[first:] + others[:first], free))


if __name__ == "__main__":
    problem = ""
    try:
        asyncio.run(main())
    except* FailedError as failed:
        problem = "\n".join(map(str, failed.exceptions))
    sys.exit(problem or None)
