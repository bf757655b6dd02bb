"""Collects what the nodes of a cluster report about themselves, for `diagnosis` to judge.

This takes commands that the service itself does not use (`CONFIG GET`, `ACL DRYRUN`, `CLUSTER INFO`), and therefore an
operator's user.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio.cluster import ClusterNode, RedisCluster
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

from instantaudience_server.store.cluster.client import UNUSABLE, causes, cluster_client
from instantaudience_server.store.cluster.topology import NO_SLOTS
from instantaudience_server.store.inspection.permissions import COMMANDS, ON_LETTERS
from instantaudience_server.store.keys import SLOTS

ANSWER_SECONDS = 3.0


class ClusterOutOfReachError(Exception):
    """No node can be asked; the message has the error of the cluster or of the connection. `denied`: the cluster was
    reached, but refused the user or the password. `unusable`: its URL is wrong, so nobody was asked."""

    def __init__(self, message: str, *, denied: bool = False, unusable: bool = False) -> None:
        super().__init__(message)
        self.denied = denied
        self.unusable = unusable


@dataclass(frozen=True)
class NodeFacts:
    """What a node reports. A field is empty where the node refused the command for it, which `refused` then has."""

    name: str
    is_primary: bool
    info: Mapping[str, Any]
    """The answer to INFO, all sections."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The answer to CONFIG GET *."""
    cluster: Mapping[str, str] = field(default_factory=dict)
    """The answer to CLUSTER INFO."""
    clock_ahead_seconds: float = 0.0
    """How far the node's clock is ahead of this machine's; 0 where the difference is less than the round-trip time."""
    forbidden: tuple[str, ...] = ()
    """The commands and keys that the service's user may not use, by the names in `permissions`."""
    locks_out: bool = False
    """Whether the node has no such user, or has turned it off, so that the service cannot sign in. Known of a user that
    was named."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Command → the error, for those that the node refused."""


@dataclass(frozen=True)
class ClusterFacts:
    """What is known of the nodes of a cluster."""

    nodes: tuple[NodeFacts, ...]
    """The nodes that report about themselves."""
    silent: Mapping[str, str]
    """Node → the reason, for those that cannot be reached or do not answer in time."""
    closed: Mapping[str, str]
    """Node → the error, for those that answer with one; its first word is its kind: NOPERM, WRONGPASS, LOADING, …"""
    unserved_slots: int
    """How many slots no node serves."""

    @property
    def primaries(self) -> list[NodeFacts]:
        """The nodes that take writes."""
        return [node for node in self.nodes if node.is_primary]

    @property
    def has_replicas(self) -> bool:
        """Whether the cluster has replicas. New ones are reported by their primaries before they appear among the
        nodes."""
        return len(self.primaries) < len(self.nodes) or any(
            node.info.get("connected_slaves") for node in self.primaries
        )


async def inspect(url: str, *, now: Callable[[], float], user: str | None) -> ClusterFacts:
    """Ask every node. `user` is the one that the service signs in as; None: the URL's. `now` is a clock of Unix time in
    seconds.

    Raises:
        ClusterOutOfReachError: no node answers, it is not a cluster, or no slot is served.
    """
    async with _discovered(url) as cluster:
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


@asynccontextmanager
async def _discovered(url: str) -> AsyncIterator[RedisCluster]:
    """A client that knows the nodes of the cluster; it is closed after the block, or when discovery fails.

    Raises:
        ClusterOutOfReachError: as `inspect`.
    """
    async with AsyncExitStack() as stack:
        try:
            cluster = cluster_client(url, timeout_seconds=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0))
        except UNUSABLE as error:
            raise ClusterOutOfReachError(str(error), unusable=True) from error
        try:
            stack.push_async_callback(cluster.nodes_manager.aclose)
            stack.push_async_callback(cluster.nodes_manager.aclose, "startup_nodes")
            # Not cluster.initialize(), which also reads the list of all commands.
            await cluster.nodes_manager.initialize()
        except AuthenticationError as error:
            raise ClusterOutOfReachError(str(error), denied=True) from error
        except IndexError as error:  # redis-py found no primary
            raise ClusterOutOfReachError(NO_SLOTS) from error
        except (RedisError, RedisClusterException, OSError, ssl.SSLError, ValueError, TypeError) as error:
            found = await causes(cluster.nodes_manager.startup_nodes.values())
            why = "; ".join(f"{name}: {_chain(cause)}" for name, cause in found.items()) or _chain(error)
            raise ClusterOutOfReachError(why, denied=any(map(_is_denied, [*found.values(), error]))) from error
        yield cluster


class _Silent(NamedTuple):
    """The reason why a node cannot be reached, or does not answer in time."""

    why: str


async def _ask(node: ClusterNode, now: Callable[[], float], user: str | None) -> NodeFacts | str | _Silent:
    """What a node reports, or the error that it answers with, or why it does not answer."""
    try:
        async with asyncio.timeout(2 * ANSWER_SECONDS):
            ahead = await _clock_ahead(node, now)
            info: Mapping[str, Any] = await node.execute_command("INFO", "everything")
            refused: dict[str, str] = {}
            settings = await _refusable(node, refused, "CONFIG GET", "*")
            cluster = await _refusable(node, refused, "CLUSTER INFO")
            locks_out = user is not None and await _locks_out(node, refused, user)
            forbidden = [] if locks_out else await _forbidden(node, refused, user)
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
        locks_out=locks_out,
        refused=refused,
    )


async def _clock_ahead(node: ClusterNode, now: Callable[[], float]) -> float:
    before = now()
    seconds, microseconds = await node.execute_command("TIME")
    after = now()
    ahead = int(seconds) + int(microseconds) / 1e6 - (before + after) / 2
    return 0.0 if abs(ahead) < after - before else ahead


async def _refusable(node: ClusterNode, refused: dict[str, str], *words: str) -> Any:
    """The answer to a command; None where the node refuses it, which is noted in `refused`."""
    try:
        return await node.execute_command(*words)
    except ResponseError as error:
        refused[words[0]] = str(error)
        return None


async def _locks_out(node: ClusterNode, refused: dict[str, str], user: str) -> bool:
    """Whether there is no such user, or it is off; False where the node does not tell."""
    said = await _refusable(node, refused, "ACL GETUSER", user)
    return "ACL GETUSER" not in refused and (said is None or not said["enabled"])


async def _forbidden(node: ClusterNode, refused: dict[str, str], user: str | None) -> list[str]:
    """The commands and keys that the user may not use; none where the node does not tell. The node looks at the command
    first, and says which of the two it is: a command that is forbidden forbids no keys, nor the other way round."""
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
        denied = _text(said)
        if denied != "OK" and denied.endswith(" key") == (name in ON_LETTERS):
            forbidden.append(name)
    return forbidden


def _with_word(error: RedisError) -> str:
    """A node's error with its first word, which redis-py strips from the text."""
    text, word = str(error), error.status_code
    return text if word is None or text.startswith(word) else f"{word} {text}"


def _is_denied(error: BaseException) -> bool:
    """Whether a node refused the user or the password, by the types of the errors: redis-py strips the word that would
    tell from the text."""
    return any(isinstance(each, AuthenticationError | NoPermissionError) for each in _causes(error))


def _chain(error: BaseException) -> str:
    """The messages of an error and its causes, each once."""
    texts: list[str] = []
    for each in _causes(error):
        text = ((isinstance(each, OSError) and each.strerror) or str(each)).removesuffix(".")
        if text and text not in " ".join(texts):
            texts.append(text)
    return "; ".join(texts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _texts(found: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
