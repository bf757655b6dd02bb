"""Which tests go together to one of the processes that `make test` runs them in (pytest-xdist)."""

import re

from xdist.scheduler import LoadScopeScheduling

_STARTED = re.compile(r"::.*[\[-](native|envoy|grpcio|valkey|redis)\b")


class StartedOnceScheduling(LoadScopeScheduling):
    """Those of one file, on one host or one product: they share what the file starts.

    The parts keep pytest's order (`--no-loadscope-reorder`), in which all that runs on one host comes before the next:
    so each process starts what is there for the whole session once for each host.
    """

    def _split_scope(self, nodeid: str) -> str:
        started = _STARTED.search(nodeid)
        return nodeid.partition("::")[0] + (f" on {started[1]}" if started else "")
