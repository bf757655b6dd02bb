"""Checks whether the service can serve: whether every primary of the cluster takes writes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog

from instantaudience_server.errors import unavailable
from instantaudience_server.observation import metrics
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.store.interfaces.health import NodeState, Problem, StoreHealth

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How long the nodes have to answer a check, and the pause between two checks of `watch`."""
SHARED_SECONDS = 0.1
"""How long the result of a check is reused, so that frequent callers do not burden the nodes."""
NO_PROBLEM = "none"


class HealthService:
    """Checks the nodes of the cluster, and logs and counts those that take no writes."""

    def __init__(self, store: StoreHealth) -> None:
        self._store = store
        self._problems: dict[str, Problem] = {}
        """The problems of nodes that take no writes, by node, as logged last."""
        self._draining = False
        self._looking: asyncio.Task[list[NodeState]] | None = None

    @property
    def problems(self) -> Mapping[str, str]:
        """The nodes that took no writes at the last check of `watch`, and why."""
        return self._problems

    def drain(self) -> None:
        """Make `check` fail from now on, because the server is about to end."""
        self._draining = True

    async def check(self, deadline: float) -> list[NodeState]:
        """The primaries, if all of them take writes.

        Raises:
            AudienceError: UNAVAILABLE, naming the nodes that do not and why; also while draining.
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
        """Check forever. Report whether all primaries take writes, at the first check and whenever that changes."""
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
        """The result of a check, shared by all who ask meanwhile; cancelling one of them does not cancel the check."""
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
        """Log changes, and set the metric of nodes by problem."""
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
