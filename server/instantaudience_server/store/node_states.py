"""Whether the nodes of the cluster take writes (see `interfaces.health.StoreHealth`)."""

import asyncio
from collections.abc import Iterable
from itertools import groupby

from instantaudience_server.errors import AudienceError
from instantaudience_server.store import keys
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Batch, Listed
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.health import NodeState, Problem

LOOK = "return 1"
"""A script that writes nothing, but is declared as one that might: a node refuses it whenever it refuses writes (see
`commands.evaluate`)."""


class ClusterNodeStates:
    """Asks every primary to run a script that may write."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def look(self, deadline: float) -> list[NodeState]:
        """Ask each primary once. Ranges of slots that no node serves are at the end."""
        # A question is about a slot of its node, so that it goes to the same node when it is sent again.
        questions = {name: self._ask(slot, deadline) for name, slot in self._cluster.routes.primaries().items()}
        await asyncio.gather(*[question.done for question in questions.values() if question is not None])
        unserved = self._cluster.routes.unserved()
        if unserved:
            self._cluster.routes.look_again()
        return [
            *(NodeState(name, _problem(question)) for name, question in questions.items()),
            *(NodeState(f"slots {slots}", Problem.NO_PRIMARY) for slots in _ranges(unserved)),
        ]

    def _ask(self, slot: int, deadline: float) -> Batch | None:
        """Send the question to the node of a slot; None where the deadline has passed already, as it may have when the
        whole machine was paused."""
        question = commands.evaluate(LOOK, [keys.mark_key(slot)])
        try:
            return self._cluster.begin([Listed([question])], deadline, bounded=False)
        except AudienceError:
            return None


def _problem(question: Batch | None) -> Problem | None:
    if question is None:
        return Problem.NO_ANSWER
    if not question.failures():
        return None
    return question.problem or Problem.NO_ANSWER


def _ranges(slots: Iterable[int]) -> list[str]:
    """Ascending slots as ranges, `first-last`."""
    runs = [[slot for _, slot in run] for _, run in groupby(enumerate(slots), lambda each: each[1] - each[0])]
    return [f"{run[0]}-{run[-1]}" for run in runs]
