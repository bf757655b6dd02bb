"""Replies are matched to commands in order, however the bytes come."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Batch, Group, Listed, Part, Question, Single
from instantaudience_server.store.cluster.confirming import confirmation
from instantaudience_server.store.cluster.node import Node
from instantaudience_server.store.cluster.topology import Topology
from instantaudience_server.store.interfaces.health import Problem
from instantaudience_server.store.keys import key_slot, mark_key
from support.clocks import run_on_told_time, told_loop
from support.cluster.nodes import on_node
from support.cluster.sockets import Socket, ask
from support.waiting import eventually, turns

KEYS = [b"m:p:%d" % number for number in range(1, 200)]
SETTING, REMOVING = commands.setting(0, {12: 1}), commands.removing([12])


class Errors:
    """The router: errors end their batch, and are kept."""

    def __init__(self) -> None:
        self.seen: list[tuple[Group, int, str]] = []

    def refused(self, node: Node, part: Part, index: int, error: Any) -> None:
        self.seen.append((part.group, index, str(error)))
        part.batch.answered(1)

    def unreachable(self, node: Node, parts: Any, problem: Problem) -> None:
        raise AssertionError("the connection was lost")


sizes = st.integers(1, 60)
reply_kinds = st.sampled_from([b":1\r\n"] * 6 + [b":0\r\n", b"-MOVED 1 a:1\r\n"])


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[str, list[bytes]]]:
    """Kinds of groups, and what the node replies to each of its commands."""
    talk = []
    for kind in draw(
        st.lists(st.sampled_from(["setting", "setting", "removing", "listed", "alone"]), min_size=1, max_size=6)
    ):
        size = draw(sizes)
        odd = draw(st.dictionaries(st.integers(0, size - 1), reply_kinds, max_size=3))
        usual = b"$3\r\n:1\r\r\n" if kind == "listed" else b":1\r\n"
        talk.append((kind, [odd.get(index, usual) for index in range(size)]))
    return talk


def group_of(kind: str, size: int) -> Group:
    if kind == "listed":
        return Listed([commands.get(key) for key in KEYS[:size]])
    if kind == "alone":
        return Listed([commands.on_key(key, SETTING) for key in KEYS[:size]], commands.SET_REPLY)
    (spread,) = commands.on_keys(
        [b"m:p:%03d" % number for number in range(size)], SETTING if kind == "setting" else REMOVING
    )
    return spread


@given(talk=conversations(), cuts=st.lists(st.integers(0, 3000)))
def test_replies_are_matched(talk: list[tuple[str, list[bytes]]], cuts: list[int]) -> None:
    async def converse() -> None:
        socket, errors = Socket(), Errors()
        node = Node("node", lambda: socket, errors, stalled_seconds=60)  # type: ignore[arg-type, return-value]
        groups = [group_of(kind, len(replies)) for kind, replies in talk]
        loop = asyncio.get_running_loop()
        batches = [Batch([group], float("inf"), loop) for group in groups]
        for batch, group in zip(batches, groups, strict=True):
            node.send(Part(batch, group, list(range(len(group)))))
        await socket.taken.wait()
        await asyncio.sleep(0)  # to the end of the turn, in which it goes out
        data = b"".join(reply for _, replies in talk for reply in replies)
        edges = sorted({0, len(data), *[cut % len(data) for cut in cuts]})
        for start, end in itertools.pairwise(edges):
            assert not all(batch.done.done() for batch in batches)
            socket.protocol.data_received(data[start:end])
        assert all(batch.done.done() for batch in batches)
        assert node.idle
        assert errors.seen == [
            (group, index, "MOVED 1 a:1")
            for group, (_, replies) in zip(groups, talk, strict=True)
            for index, reply in enumerate(replies)
            if reply.startswith(b"-")
        ]
        for group, (_, replies) in zip(groups, talk, strict=True):
            if isinstance(group, Listed):
                values = {b"$3\r\n:1\r\r\n": b":1\r", b":1\r\n": 1, b":0\r\n": 0, b"-MOVED 1 a:1\r\n": None}
                expected = [values[reply] for reply in replies]
                usual = 1 if group.usual_reply else object()
                known = [reply for reply in zip(group.replies, expected, strict=True) if reply != (None, usual)]
                assert all(got == wanted for got, wanted in known)
        await node.close()

    asyncio.run(converse())


async def test_commands_that_go_out_again_are_awaited_once(subtests: pytest.Subtests) -> None:
    """Not in what they went out in first, confirmed or not."""
    for asking in [False, True]:
        with subtests.test(asking=asking):
            group = Listed([commands.get(key) for key in KEYS[:3]])
            batch = Batch([group], float("inf"), asyncio.get_running_loop())
            part = batch.part(group, [0, 1, 2], asking=asking)
            part.position, part.unconfirmed = (2, [0]) if asking else (1, [0])
            assert batch.unanswered() == [(group, [0, 1, 2])]
            again = batch.part(group, part.unanswered)
            part.end()
            assert batch.unanswered() == [(group, [0, 1, 2])]
            again.position = 3
            assert not batch.unanswered()


def test_a_connection_is_given_up_only_while_what_it_was_sent_is_unanswered() -> None:
    """Not one that was idle until now, nor one that answers all the time and always has more to answer."""

    async def converse() -> None:
        loop, socket = told_loop(), Socket()
        node = Node("node", lambda: socket, Errors(), stalled_seconds=2)  # type: ignore[arg-type, return-value]

        async def go_by(seconds: float) -> None:
            loop.now += seconds
            await turns()

        ask(node)
        await go_by(0)
        socket.protocol.data_received(b":1\r\n")
        for _ in range(3):
            await go_by(1)
        ask(node)
        await go_by(0)
        await go_by(1)
        assert not socket.is_aborted
        for _ in range(10):
            ask(node)
            await go_by(0.5)
            socket.protocol.data_received(b":1\r\n")
        assert not node.idle
        await go_by(1.9)
        assert not socket.is_aborted
        await go_by(0.2)
        assert socket.is_aborted
        await node.close()

    run_on_told_time(converse())


async def test_what_the_socket_had_no_room_for_goes_out_when_it_has() -> None:
    """Though nobody sends anything more to the node."""
    socket = Socket()
    node = Node("node", lambda: socket, Errors(), stalled_seconds=60)  # type: ignore[arg-type, return-value]
    ask(node)
    await turns()
    before = bytes(socket.written)
    socket.protocol.pause_writing()
    ask(node)
    await turns()
    assert socket.written == before
    socket.protocol.resume_writing()
    assert socket.written == 2 * before
    await node.close()


async def test_a_question_does_not_wait_behind_writes() -> None:
    """It goes out on another connection, and is answered though the node still writes."""
    sockets: list[Socket] = []

    def connect() -> Socket:
        sockets.append(Socket())
        return sockets[-1]

    node = Node("node", connect, Errors(), stalled_seconds=60, confirmations={})  # type: ignore[arg-type]
    written = ask(node)
    await turns()
    asked = Single(commands.get(KEYS[0]))
    question = Question(asked, bytes, float("inf"), asyncio.get_running_loop(), Durability.PRIMARY)
    node.send(question.part(asked, [0]))
    await turns()
    (writes, questions) = sockets
    assert commands.get(KEYS[0])[1] == questions.written
    questions.protocol.data_received(b"$1\r\na\r\n")
    assert await question.done == b"a"
    assert not written.done.done()
    assert not node.idle
    writes.protocol.data_received(b":1\r\n")
    assert written.done.done()
    assert node.idle
    await node.close()
    assert all(socket.is_aborted for socket in sockets)


class Unconfirmed(Errors):
    """Counts what is not confirmed, and names slots for marks."""

    def __init__(self, slots: list[int]) -> None:
        super().__init__()
        self.count = 0
        self.lost: list[list[int]] = []
        self.problem: Problem | None = None
        self.slots = slots

    def unconfirmed(self, node: Node, parts: Any) -> None:
        self.count += len(list(parts))

    def another_slot(self, node: Node, slot: int) -> int:
        return self.slots.pop(0)

    def unreachable(self, node: Node, parts: Any, problem: Problem) -> None:
        self.lost = [part.unanswered for part in parts]
        self.problem = problem


def confirming_node(socket: Socket, router: Unconfirmed) -> Node:
    """One whose answers count when a replica has what was written."""
    confirming = confirmation(Durability.REPLICA, replicas=1, wait_seconds=1)
    return Node("node", lambda: socket, router, stalled_seconds=60, confirmation=confirming)  # type: ignore[arg-type, return-value]


async def test_a_mark_whose_slot_moves_stands_in_another_one_each_time() -> None:
    """Slots move one after the other, that one too; and only then."""
    socket, router = Socket(), Unconfirmed([7, 8])
    node = confirming_node(socket, router)
    moved, stands, replicated, alone = b"-MOVED 7 a:1\r\n", b"+OK\r\n", b":1\r\n", b":0\r\n"
    talk = (
        (key_slot(KEYS[0]), moved + replicated, False),
        (7, b"-ASK 7 a:1\r\n" + replicated, False),
        (8, stands + alone, False),
        (8, stands + replicated, True),
    )
    for slot, replies, is_confirmed in talk:
        socket.written.clear()
        batch = ask(node)
        await turns()
        assert mark_key(slot) in socket.written
        socket.protocol.data_received(b":1\r\n")
        assert not batch.done.done()
        socket.protocol.data_received(replies)
        assert batch.done.done() == is_confirmed
    assert (router.count, router.slots) == (3, [])
    await node.close()


async def test_what_is_not_confirmed_when_the_connection_is_lost_goes_out_again() -> None:
    """Once, answered or not."""
    socket, router = Socket(), Unconfirmed([])
    node = confirming_node(socket, router)
    batches = [ask(node), ask(node)]
    await turns()
    socket.protocol.data_received(b":1\r\n")
    socket.protocol.connection_lost(None)
    assert router.lost == [[0], [0]]
    assert not any(batch.done.done() for batch in batches)


class Reset(Socket):
    """One that is reset before redis-py writes to it, in uvloop's words."""

    async def connect(self) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_what_waits_for_a_connection_that_is_reset_goes_out_again() -> None:
    """It had waited until something else was sent to the node."""
    router = Unconfirmed([])
    node = Node("node", Reset, router, stalled_seconds=60)  # type: ignore[arg-type]
    ask(node)
    await turns()
    assert (router.lost, node.idle, router.problem) == ([[0]], True, Problem.NO_CONNECTION)


class Losses(Errors):
    """Counts connections that are lost."""

    count = 0

    def unreachable(self, node: Node, parts: Any, problem: Problem) -> None:
        self.count += 1


async def test_a_connection_that_is_closed_on_purpose_is_not_lost(embedded: EmbeddedCluster) -> None:
    name, losses = f"{HOST}:{embedded.ports[0]}", Losses()
    topology = Topology(embedded.url, connect_timeout_seconds=5.0)

    async def used() -> Node:
        node = Node(name, lambda: topology.connection(name), losses, stalled_seconds=60)
        group = Listed([commands.get(KEYS[0])])
        batch = Batch([group], float("inf"), asyncio.get_running_loop())
        node.send(Part(batch, group, [0]))
        await batch.done
        return node

    closed, lost = await used(), await used()
    await closed.close()
    await on_node(embedded.ports[0], "CLIENT", "KILL", "TYPE", "normal")

    async def one_is_lost() -> None:
        assert losses.count == 1

    await eventually(one_is_lost)
    await lost.close()
    await topology.close()
    assert losses.count == 1
