"""Commands that are sent together: what the way to the cluster asks of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

Node = TypeVar("Node")


class Group(Protocol):
    """Some commands of a batch, by indexes from 0."""

    @property
    def size_bytes(self) -> int:
        """The size of all commands."""

    @property
    def usual_reply(self) -> bytes:
        """What each command replies when it was carried out, as it comes from the wire; empty where that differs."""

    def __len__(self) -> int: ...

    def by_node(self, nodes: list[Node]) -> Mapping[Node, list[int]]:
        """The indexes of commands, by what a list of `SLOTS` has for their slots."""

    def slot(self, index: int) -> int:
        """The slot of a command."""

    def packed(self, indexes: Sequence[int]) -> bytes:
        """Commands, for the wire."""

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Take the replies of commands, other than errors."""


class PackedCommands(Group, Protocol):
    """Commands that change users' memberships, and were packed elsewhere."""

    def __getitem__(self, index: int) -> bytes:
        """The key of the user that a command changes."""


class Keys(Protocol):
    """The users' keys of a group, by the indexes of its commands."""

    def __getitem__(self, index: int, /) -> bytes: ...


class PackedChanges(dict[Group, Keys]):
    """Groups of commands that change users' memberships, packed by `MembershipStore.pack`, and the keys of each."""


def indexes_by(found: Iterable[Node]) -> dict[Node, list[int]]:
    """The indexes of what was found for commands."""
    by_node: dict[Node, list[int]] = {}
    for index, node in enumerate(found):
        indexes = by_node.get(node)
        if indexes is None:
            by_node[node] = [index]
        else:
            indexes.append(index)
    return by_node
