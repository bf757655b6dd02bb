"""Traces that stand for how long calls took: the newest traced call of each duration's range, for Prometheus.

prometheus_client's multiprocess mode keeps no exemplars. Each worker writes its own into a file beside those of its
metrics, and `of_all` reads all (docs/adr/0013-metrics.md). A trace's ID is all that an exemplar says of a call.
"""

import contextlib
import json
import time
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

from google.rpc import code_pb2

from instantaudience_server.observation import observations

BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper ends of the ranges; a last one has none."""
WRITE_SECONDS = 1.0
"""The pause between two writes, at least."""
_FILE = "exemplars_{}.json"


class Range(NamedTuple):
    """Which calls: of a method, with an outcome, that took about as long: up to the bound at this place."""

    method: str
    outcome: str
    bound: int


class Exemplar(NamedTuple):
    """A call that was traced: how long it took, and when it ended (Unix time in seconds)."""

    trace_id: str
    seconds: float
    ended: float


def outcome_of(code: int) -> str:
    """What a gRPC code says of a call: `ok`, `refused` or `failed`."""
    if code == code_pb2.OK:
        return "ok"
    return "failed" if code in (code_pb2.UNAVAILABLE, code_pb2.INTERNAL) else "refused"


def range_of(method: str, outcome: str, seconds: float) -> Range:
    """Where a call belongs."""
    return Range(method, outcome, bisect_left(BOUNDS_SECONDS, seconds))


class Exemplars:
    """Those of a worker."""

    def __init__(self) -> None:
        self._newest: dict[Range, Exemplar] = {}
        self._file: Path | None = None
        self._changed = False
        self._written = 0.0

    def keep_in(self, directory: str, worker: str) -> None:
        """Write them into the directory of the workers' metrics, from now on."""
        self._file = Path(directory) / _FILE.format(worker)

    def note(self, method: str, code: int, seconds: float, trace_id: str) -> None:
        """A traced call of a method has ended with a gRPC code."""
        self._newest[range_of(method, outcome_of(code), seconds)] = Exemplar(trace_id, seconds, time.time())
        self._changed = True

    def write(self) -> None:
        """Write down what is new, now and then (see `observations.write_down`)."""
        now = time.monotonic()
        if self._file is None or not self._changed or now - self._written < WRITE_SECONDS:
            return
        self._changed, self._written = False, now
        text = json.dumps([(*each, *exemplar) for each, exemplar in self._newest.items()])
        new = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk does not stop the other metrics
            new.write_text(text)
            new.replace(self._file)


EXEMPLARS = Exemplars()
observations.keep(EXEMPLARS)


def of_all(directory: Path) -> dict[Range, Exemplar]:
    """The newest of each range, of all workers that write into the directory."""
    newest: dict[Range, Exemplar] = {}
    for file in directory.glob(_FILE.format("*")):
        try:
            rows = json.loads(file.read_text())
        except (OSError, ValueError):
            continue  # it is just gone, or half there
        for method, outcome, bound, *rest in rows:
            which, exemplar = Range(method, outcome, bound), Exemplar(*rest)
            if which not in newest or newest[which].ended < exemplar.ended:
                newest[which] = exemplar
    return newest
