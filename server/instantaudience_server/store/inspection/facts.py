"""What the nodes of a cluster say of themselves, for whoever judges it (see the room `diagnosis`).

It asks more than the service does (`CONFIG GET`, `ACL DRYRUN`, `CLUSTER INFO`): an operator's user may do that.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from instantaudience_server.store.cluster.client import cluster_client
from instantaudience_server.store.cluster.topology import NO_SLOTS
from instantaudience_server.store.inspection.permissions import COMMANDS, ON_LETTERS
from instantaudience_server.store.keys import SLOTS

ANSWER_SECONDS = 3.0


class ClusterOutOfReachError(Exception):
    """Nobody can be asked; the message is what the cluster, or the way to it, said. `denied`: it knows the way, but
    not the user or the password."""

    def __init__(self, message: str, *, denied: bool) -> None:
        super().__init__(message)
        self.denied = denied


@dataclass(frozen=True)
class NodeFacts:
    """What a node says. Where it refuses to say it, there is nothing, and in `refused` why, by the command."""

    name: str
    is_primary: bool
    info: Mapping[str, Any]
    """INFO, all sections."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """CONFIG GET *."""
    cluster: Mapping[str, str] = field(default_factory=dict)
    """CLUSTER INFO."""
    clock_ahead_seconds: float = 0.0
    """How far its clock is ahead of ours; less than the way there and back is not known."""
    forbidden: tuple[str, ...] = ()
    """The commands and keys that the service's user would be refused."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """The commands that it refused, and why."""


@dataclass(frozen=True)
class ClusterFacts:
    """All nodes that say how they are, the names of those that cannot be reached and of those that refuse to say it,
    with why, and how many slots nobody serves."""

    nodes: tuple[NodeFacts, ...]
    silent: Mapping[str, str]
    closed: Mapping[str, str]
    """Node → the error that it answers with; its first word says which: NOPERM, WRONGPASS, LOADING, …"""
    unserved_slots: int

    @property
    def primaries(self) -> list[NodeFacts]:
        """The nodes that take writes."""
        return [node for node in self.nodes if node.is_primary]

    @property
    def has_replicas(self) -> bool:
        """Whether there are any; a cluster names those that have just come later than their primaries do."""
        return len(self.primaries) < len(self.nodes) or any(
            node.info.get("connected_slaves") for node in self.primaries
        )


async def inspect(url: str, *, now: Callable[[], float], user: str | None) -> ClusterFacts:
    """Ask every node; `user` is the one that the service signs in as, the URL's where it is None. `now` is Unix time.

    Raises:
        ClusterOutOfReachError: no node answers, it is no cluster, or nobody serves a slot.
    """
    try:
        cluster = cluster_client(url, timeout_seconds=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0))
        # Not cluster.initialize(), which asks for all commands, too.
        await cluster.nodes_manager.initialize()
    except AuthenticationError as error:
        raise ClusterOutOfReachError(str(error), denied=True) from error
    except IndexError as error:  # redis-py wants a primary
        raise ClusterOutOfReachError(NO_SLOTS, denied=False) from error
    except (RedisError, RedisClusterException, OSError, ssl.SSLError, ValueError, TypeError) as error:
        raise ClusterOutOfReachError(_chain(error), denied=_is_denied(error)) from error
    try:
        nodes = sorted(cluster.nodes_manager.nodes_cache.values(), key=lambda node: node.name)
        facts = await asyncio.gather(*(_ask(node, now, user) for node in nodes))
        served = sum(1 for owners in cluster.nodes_manager.slots_cache.values() if owners)
        found = dict(zip((node.name for node in nodes), facts, strict=True))
        return ClusterFacts(
            nodes=tuple(each for each in facts if isinstance(each, NodeFacts)),
            silent={name: each.why for name, each in found.items() if isinstance(each, _Silent)},
            closed={name: each for name, each in found.items() if isinstance(each, str)},
            unserved_slots=SLOTS - served,
        )
    finally:
        await cluster.nodes_manager.aclose("startup_nodes")
        await cluster.nodes_manager.aclose()


class _Silent(NamedTuple):
    """A node that cannot be reached, or does not answer in time."""

    why: str


async def _ask(node: ClusterNode, now: Callable[[], float], user: str | None) -> NodeFacts | str | _Silent:
    """What a node says of itself; or the error that it answers with, or why it does not answer."""
    try:
        async with asyncio.timeout(2 * ANSWER_SECONDS):
            ahead = await _clock_ahead(node, now)
            info: Mapping[str, Any] = await node.execute_command("INFO", "everything")
            refused: dict[str, str] = {}
            settings = await _refusable(node, refused, "CONFIG GET", "*")
            cluster = await _refusable(node, refused, "CLUSTER INFO")
            forbidden = await _forbidden(node, refused, user)
    except (ResponseError, AuthenticationError, BusyLoadingError) as error:
        return _with_word(error)
    except (RedisError, OSError, TimeoutError) as error:
        return _Silent(str(error) or "nothing came in time")
    return NodeFacts(
        name=node.name,
        is_primary=info["role"] == "master",
        info=info,
        settings=_texts(settings or {}),
        cluster=_texts(cluster or {}),
        clock_ahead_seconds=ahead,
        forbidden=tuple(forbidden),
        refused=refused,
    )


async def _clock_ahead(node: ClusterNode, now: Callable[[], float]) -> float:
    before = now()
    seconds, microseconds = await node.execute_command("TIME")
    after = now()
    ahead = int(seconds) + int(microseconds) / 1e6 - (before + after) / 2
    return 0.0 if abs(ahead) < after - before else ahead


async def _refusable(node: ClusterNode, refused: dict[str, str], *words: str) -> Any:
    """The answer; None where there is none, and in `refused` why."""
    try:
        return await node.execute_command(*words)
    except ResponseError as error:
        refused[words[0]] = str(error)
        return None


async def _forbidden(node: ClusterNode, refused: dict[str, str], user: str | None) -> list[str]:
    """What the user would be refused; nothing where that cannot be asked."""
    if user is None:
        said = await _refusable(node, refused, "ACL WHOAMI")
        if said is None:
            return []
        user = _text(said)
    forbidden = []
    for name, words in (COMMANDS | ON_LETTERS).items():
        said = await _refusable(node, refused, "ACL DRYRUN", user, *words)
        if said is None:
            return []
        if _text(said) != "OK":
            forbidden.append(name)
    return forbidden


def _with_word(error: RedisError) -> str:
    """What a node said; redis-py takes the word away that it began with."""
    text, word = str(error), error.status_code
    return text if word is None or text.startswith(word) else f"{word} {text}"


def _is_denied(error: BaseException) -> bool:
    """Whether a node said so; redis-py takes the word away by which its text would tell."""
    return any(isinstance(each, AuthenticationError | NoPermissionError) for each in _causes(error))


def _chain(error: BaseException) -> str:
    """What the error and those behind it say, once each."""
    texts: list[str] = []
    for each in _causes(error):
        if str(each) and str(each) not in " ".join(texts):
            texts.append(str(each))
    return "; ".join(texts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those behind it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _texts(found: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
