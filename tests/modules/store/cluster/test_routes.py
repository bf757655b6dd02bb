"""Which node serves which slot, as the topology tells it from time to time."""

from typing import Any

import pytest
from instantaudience_server.store.cluster import routes
from instantaudience_server.store.cluster.node import Node
from instantaudience_server.store.cluster.routes import Routes
from support.clocks import run_on_told_time, told_loop
from support.cluster.sockets import Socket, ask
from support.waiting import turns


class Told:
    """A topology that is what it is told; `asked` is how often it was asked for."""

    def __init__(self, **slots: int) -> None:
        self.serving: dict[int, str] = {slot: f"{node}:1" for node, slot in slots.items()}
        self.asked = 0
        self.sockets: dict[str, Socket] = {}

    async def check_servers(self) -> None:
        pass

    async def refresh(self) -> None:
        self.asked += 1

    def primaries(self) -> dict[int, str]:
        return self.serving

    def connection(self, name: str) -> Any:
        return self.sockets.setdefault(name, Socket())

    async def close(self) -> None:
        pass


async def opened(topology: Told) -> Routes:
    """Routes that know it."""
    router: Any = None

    def node(name: str, connect: Any) -> Node:
        return Node(name, connect, router, stalled_seconds=60)

    found = Routes(topology, node)  # type: ignore[arg-type]
    await found.open()
    return found


async def go_by(seconds: float = 10 * routes.REFRESH_PAUSE_SECONDS) -> None:
    """Time, and all that it brings."""
    told_loop().now += seconds
    await turns(20)


def test_connections_of_a_node_that_serves_nothing_end_when_it_has_answered() -> None:
    """One that takes its first slot over serves none yet: it was named by the node that hands it on."""

    async def run() -> None:
        topology = Told(a=0, b=1)
        known = await opened(topology)
        former = known.slots[1]
        assert former is not None
        taking_over = known.named("c:1", former)
        last, first = ask(former), ask(taking_over)
        await go_by(0)
        topology.sockets["b:1"].protocol.data_received(b":1\r\n")
        assert last.done.done()
        topology.serving = {0: "a:1", 1: "a:1"}
        known.look_again()
        await go_by()
        assert topology.sockets["b:1"].is_aborted
        assert not topology.sockets["c:1"].is_aborted
        topology.sockets["c:1"].protocol.data_received(b":1\r\n")
        assert first.done.done()
        known.look_again()
        await go_by()
        await go_by()
        assert topology.sockets["c:1"].is_aborted
        await known.close()

    run_on_told_time(run())


def test_a_redirection_without_a_host_means_that_of_the_node_that_was_asked() -> None:
    """Clusters say so that know no addresses by which they are reached."""

    async def run() -> None:
        known = await opened(Told(a=0))
        asked = known.slots[0]
        assert asked is not None
        assert known.named(":7", asked).name == "a:7"
        assert known.named("::1:7", asked).name == "::1:7"
        await known.close()

    run_on_told_time(run())


@pytest.mark.parametrize("reasons", [1, 5])
def test_the_topology_is_asked_for_once_for_all_reasons_until_then_and_no_more(reasons: int) -> None:
    """It costs the nodes; what comes meanwhile is asked about again, and nothing is when all is over."""

    async def run() -> None:
        topology = Told(a=0)
        known = await opened(topology)
        for _ in range(reasons):
            known.look_again()
        for _ in range(3):
            await go_by()
        assert topology.asked == 1
        for _ in ("a reason", "and another, in the pause"):
            known.look_again()
            await go_by(0)
            assert topology.asked == 2
        for _ in range(3):
            await go_by()
        assert topology.asked == 3
        await known.close()
        known.look_again()
        await go_by()
        assert topology.asked == 3

    run_on_told_time(run())


def test_while_a_part_of_the_cluster_is_away_for_long_the_topology_is_asked_for_less_often() -> None:
    """It took a quarter of a core over TLS. What comes back is learnt a twentieth of the time later, a second at most;
    after a calm, all begins anew."""

    async def asked(topology: Told, known: Routes, seconds: int) -> int:
        before = topology.asked
        for _ in range(100 * seconds):
            known.look_again()
            await go_by(0.01)
        return topology.asked - before

    async def run() -> None:
        topology = Told(a=0)
        known = await opened(topology)
        for calm in (0, 10):
            await go_by(calm)
            assert 16 <= await asked(topology, known, 2) <= 20
            assert 12 <= await asked(topology, known, 2) <= 15
            await asked(topology, known, 20)
            assert 9 <= await asked(topology, known, 10) <= 10
        await known.close()

    run_on_told_time(run())
