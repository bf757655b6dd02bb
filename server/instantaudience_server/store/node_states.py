"""Whether the nodes of the cluster take writes (see `interface.StoreHealth`)."""

import asyncio
from collections.abc import Iterable
from itertools import count, groupby

from instantaudience_server.store import commands, keys
from instantaudience_server.store.batch import Batch, Listed
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.interface import NodeState, Problem

LOOK = "return 1"
"""It writes nothing, but might: a node refuses it whenever it refuses writes (see `commands.evaluate`)."""


class ClusterNodeStates:
    """Asks every primary to run a script that may write."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def look(self, deadline: float) -> list[NodeState]:
        """One question for each primary; what nobody serves stands at the end."""
        questions = {name: self._ask(key, deadline) for name, key in self._keys().items()}
        await asyncio.gather(*[question.done for question in questions.values()])
        unserved = self._cluster.unserved()
        if unserved:
            self._cluster.look_again()
        return [
            *(NodeState(name, _problem(question)) for name, question in questions.items()),
            *(NodeState(f"slots {slots}", Problem.NO_PRIMARY) for slots in _ranges(unserved)),
        ]

    def _ask(self, key: bytes, deadline: float) -> Batch:
        return self._cluster.begin([Listed([commands.evaluate(LOOK, [key])])], deadline, bounded=False)

    def _keys(self) -> dict[str, bytes]:
        """For each primary, a key that it serves: sent again after a lost connection, a question goes nowhere else."""
        missing = self._cluster.primaries()
        found: dict[str, bytes] = {}
        for number in count():
            if not missing:
                return found
            key = keys.probe_key(number)
            name = self._cluster.primary_of(keys.key_slot(key))
            if name in missing:
                missing.remove(name)
                found[name] = key
        raise AssertionError("unreachable")


def _problem(question: Batch) -> Problem | None:
    if not question.failures():
        return None
    return question.problem or Problem.NO_ANSWER


def _ranges(slots: Iterable[int]) -> list[str]:
    """Slots, in their order, as `first-last`."""
    runs = [[slot for _, slot in run] for _, run in groupby(enumerate(slots), lambda each: each[1] - each[0])]
    return [f"{run[0]}-{run[-1]}" for run in runs]
