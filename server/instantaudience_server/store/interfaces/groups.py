"""Groups of commands that are sent together, as the cluster client sees them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

Node = TypeVar("Node")


class Group(Protocol):
    """Commands of a batch, by their indexes from 0 on."""

    @property
    def size_bytes(self) -> int:
        """The size of all commands, encoded."""

    @property
    def usual_reply(self) -> bytes:
        """The encoded reply to every command that is carried out; empty where replies differ."""

    def __len__(self) -> int: ...

    def by_node(self, nodes: list[Node]) -> Mapping[Node, list[int]]:
        """Node → the indexes of its commands; `nodes` has the node of each slot."""

    def slot(self, index: int) -> int:
        """The slot of a command."""

    def packed(self, indexes: Sequence[int]) -> bytes:
        """Some of the commands, encoded."""

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Take the replies to some of the commands. Errors are never passed, and usual replies need not be."""


class PackedCommands(Group, Protocol):
    """Commands that change users' memberships and were encoded elsewhere (natively, for files)."""

    def __getitem__(self, index: int) -> bytes:
        """The key of the user that a command changes."""


class Keys(Protocol):
    """The keys of the users that a group changes, by the indexes of its commands."""

    def __getitem__(self, index: int, /) -> bytes: ...


class PackedChanges(dict[Group, Keys]):
    """Groups of encoded commands that change users' memberships, with the keys of each (`MembershipStore.pack`)."""


def indexes_by(found: Iterable[Node]) -> dict[Node, list[int]]:
    """Node → the indexes at which it stands in `found`."""
    by_node: dict[Node, list[int]] = {}
    for index, node in enumerate(found):
        indexes = by_node.get(node)
        if indexes is None:
            by_node[node] = [index]
        else:
            indexes.append(index)
    return by_node
