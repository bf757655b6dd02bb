"""Whether the service can serve."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog

from instantaudience_server import metrics
from instantaudience_server.errors import unavailable
from instantaudience_server.store.interfaces.health import NodeState, Problem, StoreHealth
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How long the cluster has for a sign of life, and the pause between two questions."""
SHARED_SECONDS = 0.1
"""How long others are told what a look has shown: whoever asks again and again burdens no node."""
NO_PROBLEM = "none"


class HealthService:
    """Asks the cluster for signs of life: every primary has to take writes."""

    def __init__(self, store: StoreHealth) -> None:
        self._store = store
        self._problems: dict[str, Problem] = {}
        """Of nodes, as they were logged."""
        self._draining = False
        self._looking: asyncio.Task[list[NodeState]] | None = None

    @property
    def problems(self) -> Mapping[str, str]:
        """The nodes that took no writes when it was looked last, and why."""
        return self._problems

    def drain(self) -> None:
        """From now on, the service is not ready any more."""
        self._draining = True

    async def check(self, deadline: float) -> list[NodeState]:
        """The nodes, each of which takes writes.

        Raises:
            AudienceError: UNAVAILABLE; it says what is waited for, node by node.
        """
        self._check_staying()
        try:
            async with asyncio.timeout_at(deadline):
                states = await self._look()
        except TimeoutError:
            raise unavailable("not ready: the cluster did not answer within the call's time") from None
        self._check_staying()
        waited_for = [f"{name} ({problem})" for name, problem in states if problem is not None]
        if waited_for:
            raise unavailable(f"not ready, waiting for: {', '.join(waited_for)}")
        return states

    async def is_serving(self) -> bool:
        """Whether every primary takes writes."""
        return all(problem is None for _, problem in await self._look())

    async def watch(self, report: Callable[[bool], None] | None = None) -> None:
        """Ask forever, and report when the answer changes; the first answer is a change."""
        serving: bool | None = None
        while True:
            states = await self._look()
            self._note(states)
            now = not self._problems
            if now is not serving:
                serving = now
                log.info(Event.HEALTH_CHANGED, serving=serving)
                metrics.CLUSTER_REACHABLE.labels(metrics.WORKER).set(serving)
                if report is not None:
                    report(serving)
            await asyncio.sleep(LOOK_SECONDS)

    def _check_staying(self) -> None:
        if self._draining:
            raise unavailable("not ready: this server is about to end")

    async def _look(self) -> list[NodeState]:
        """What a look shows that all share who ask meanwhile; it goes on for the others when one of them leaves."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all())
        return await asyncio.shield(self._looking)

    async def _look_for_all(self) -> list[NodeState]:
        loop = asyncio.get_running_loop()
        try:
            return await self._store.look(loop.time() + LOOK_SECONDS)
        finally:
            loop.call_later(SHARED_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looking = None

    def _note(self, states: Sequence[NodeState]) -> None:
        """Log what has changed, and count the nodes."""
        problems = {name: problem for name, problem in states if problem is not None}
        for name, problem in problems.items():
            if self._problems.get(name) is not problem:
                log.warning(Event.NODE_TAKES_NO_WRITES, node=name, problem=problem)
        for name in self._problems.keys() - problems.keys():
            log.info(Event.NODE_TAKES_WRITES, node=name)
        self._problems = problems
        counts = Counter(NO_PROBLEM if problem is None else problem for _, problem in states)
        for each in (NO_PROBLEM, *Problem):
            metrics.CLUSTER_NODES.labels(metrics.WORKER, each).set(counts[each])
