"""Throws mutated gRPC requests and broken HTTP/2 at a host, and watches what its neighbours see.

Not part of the tests; run it by hand: `PYTHONPATH=tests python tests/fuzz/fuzz_framing.py --seconds 600`. It fails when
a call gets no end, a worker ends, an error is logged, or a neighbour's call is not answered. Warnings are only
counted: a busy machine has no time for some calls.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from framing_cases import Case, broken_connection, random_case
from instantaudience_server.transport.framing import frame
from support.contract.messages import APPLY, GET_STATUS, apply_request, one_user
from support.service.processes import descendants
from support.service.running import HOST_MODES, Service, running_service
from support.service.workers import WORKER_COMMAND
from support.wire.peer import Peer, connected, grpc_headers

FUZZERS, BREAKERS, NEIGHBOURS = 4, 1, 2
CASES_ON_A_CONNECTION = 100
NEIGHBOUR_SECONDS = 20.0
INTERNAL, UNKNOWN = 13, 2


@dataclass
class Figures:
    """What was seen."""

    cases: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    answered: int = 0
    slowest_seconds: float = 0.0

    def problem(self, text: str) -> None:
        self.problems.append(text)
        print("PROBLEM", text, flush=True)  # noqa: T201


class Fuzz:
    """One run against a service."""

    def __init__(self, service: Service, token: str, ends: float, seed: int) -> None:
        self._service = service
        self._token = token.encode()
        self._ends = ends
        self._random = random.Random(seed)
        self.figures = Figures()

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._ends

    def _any_address(self) -> str:
        return self._random.choice([self._service.http_address, self._service.grpc_address])

    async def fuzz(self) -> None:
        """Cases on one connection after the other; a good call now and then on the same connection."""
        while not self.over:
            async with connected(self._any_address()) as peer:
                for number in range(CASES_ON_A_CONNECTION):
                    if self.over or peer.lost:
                        break
                    await self._try(peer, random_case(self._random, self._token))
                    if number % 10 == 0 and not peer.lost:
                        await self._good_call(peer, may_be_lost=True)
                self.figures.cases["connections lost"] += peer.lost

    async def _try(self, peer: Peer, case: Case) -> None:
        try:
            stream_id = peer.begin(case.headers, end=case.ends_at_once)
        except Exception as error:  # the client's library may refuse to send it
            self.figures.cases[f"not sent: {type(error).__name__}"] += 1
            return
        for number, chunk in enumerate(case.chunks, 1):
            await peer.send(stream_id, chunk, end=case.ends and number == len(case.chunks))
        if case.resets:
            await asyncio.sleep(self._random.choice([0, 0, 0.001, 0.15]))
            peer.reset(stream_id)
            self.figures.cases["reset by us"] += 1
            return
        try:
            answer = await peer.answer(stream_id)
        except TimeoutError:
            self.figures.problem(f"hang: {case}")
            peer.reset(stream_id)
            return
        if answer.http_status is None:
            ending = "ended with the connection" if answer.reset is None else f"reset with code {answer.reset}"
            self.figures.cases[ending] += 1
        elif answer.reset and b"content-length" in dict(case.headers):
            self.figures.cases["reset in the middle, for its length"] += 1
        elif answer.http_status != 200:
            self.figures.cases[f"HTTP {answer.http_status}"] += 1
        elif answer.headers["content-type"].startswith("application/grpc-web"):
            self.figures.cases["gRPC-Web"] += 1  # its status is in the body
        else:
            self.figures.cases[f"gRPC {answer.grpc_status}"] += 1
            if answer.grpc_status in {None, INTERNAL, UNKNOWN}:
                self.figures.problem(f"no good end: {case}, {answer}")

    async def break_connections(self) -> None:
        """Bytes that are no HTTP/2, or not for long."""
        while not self.over:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(*self._any_address().rsplit(":", 1))
                writer.write(broken_connection(self._random, self._token))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._random.choice([0.01, 0.3])):
                        while await reader.read(65_536):
                            pass
                writer.transport.abort()
            self.figures.cases["broken connections"] += 1

    async def neighbour(self) -> None:
        """Good calls on connections of their own; each must be answered."""
        while not self.over:
            until = min(self._ends, time.monotonic() + NEIGHBOUR_SECONDS)
            async with connected(self._any_address()) as peer:
                while time.monotonic() < until:
                    await self._good_call(peer)
                    await asyncio.sleep(0.01)

    async def _good_call(self, peer: Peer, *, may_be_lost: bool = False) -> None:
        started = time.monotonic()
        body = apply_request(one_user()).SerializeToString()
        headers, message = self._random.choice(
            [(grpc_headers(GET_STATUS), b""), (grpc_headers(APPLY, (b"authorization", self._token)), body)]
        )
        try:
            answer = await peer.call(headers, frame(message))
        except TimeoutError:
            self.figures.problem("a neighbour's call hangs")
            return
        if answer.grpc_status == 0:
            self.figures.answered += 1
            self.figures.slowest_seconds = max(self.figures.slowest_seconds, time.monotonic() - started)
        elif not (may_be_lost and peer.lost):
            self.figures.problem(f"a neighbour's call ended with {answer}")


def workers(service: Service) -> dict[int, int]:
    """The resident memory of each worker, in KiB, by process ID."""
    found = {}
    for process in descendants(service.process.pid):
        if WORKER_COMMAND in process.command:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found[process.pid] = int(status.partition("VmRSS:")[2].split()[0])
    return found


async def watch(service: Service, fuzz: Fuzz, at_start: dict[int, int]) -> None:
    """A line a minute."""
    while not fuzz.over:
        await asyncio.sleep(min(60.0, fuzz._ends - time.monotonic()) + 0.01)
        now = workers(service)
        if now.keys() != at_start.keys():
            fuzz.figures.problem(f"workers have changed: {at_start} → {now}")
        total = sum(fuzz.figures.cases.values())
        print(f"{total} cases, {fuzz.figures.answered} neighbours' calls, RSS {now} KiB", flush=True)  # noqa: T201


def is_warning(line: str) -> bool:
    """Whether a line of the log warns, and is no error."""
    with contextlib.suppress(ValueError):
        return bool(json.loads(line)["level"] == "warning")
    return False


async def run(host_mode: str, seconds: float, seed: int) -> bool:
    """Fuzz for so long; whether nothing was wrong."""
    async with running_service("--workers", "2", "--log-level", "warning", host_mode=host_mode) as service:
        fuzz = Fuzz(service, await service.token(), time.monotonic() + seconds, seed)
        at_start = workers(service)
        tasks = [fuzz.fuzz] * FUZZERS + [fuzz.break_connections] * BREAKERS + [fuzz.neighbour] * NEIGHBOURS
        await asyncio.gather(watch(service, fuzz, at_start), *(task() for task in tasks))
        at_end = workers(service)
        figures = fuzz.figures
        lines = [line for line in service.log.splitlines() if not line.startswith("… ")]
        figures.cases["warnings"] = sum(map(is_warning, lines))
        figures.problems += [line for line in lines if not is_warning(line)]
        print(f"seed {seed}, {seconds:.0f} s, {sum(figures.cases.values())} cases: {dict(figures.cases)}")  # noqa: T201
        print(f"neighbours: {figures.answered} answered, slowest {figures.slowest_seconds:.3f} s")  # noqa: T201
        print(f"RSS in KiB: {at_start} → {at_end}")  # noqa: T201
        print(f"problems: {len(figures.problems)}", *figures.problems[:20], sep="\n")  # noqa: T201
        return not figures.problems


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", choices=HOST_MODES, default=HOST_MODES[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of what is written to a connection that is lost
    sys.exit(not asyncio.run(run(arguments.host, arguments.seconds, arguments.seed)))


if __name__ == "__main__":
    main()
