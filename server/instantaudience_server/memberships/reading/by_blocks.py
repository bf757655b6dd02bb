"""Users of requests by what follows their IDs, their blocks mostly: campaigns add many users to few segments, and of
most users the ID is all there is to look at."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import Protocol

from instantaudience_server.memberships.reading.extension import users_together
from instantaudience_server.memberships.reading.identity import encoded_platform_keys
from instantaudience_server.memberships.reading.wire import split_user, users_by_rest


class KeySet(Iterable[bytes], Protocol):
    """Keys of users."""

    def isdisjoint(self, others: Iterable[bytes], /) -> bool:
        """Whether none of the others is among them."""


class ByBlocks(Protocol):
    """Users of requests: `rests` are the different bytes that follow their IDs, `sizes` how many users of requests have
    each.

    `keys` are the keys of these users, of those in several requests once; None where one is not on the platform, has an
    ID of 20 digits, or stands in a request twice or with different rests. In `key_set`, there are all of them.
    """

    @property
    def rests(self) -> Sequence[bytes]: ...
    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def keys(self) -> Sequence[Sequence[bytes]] | None: ...
    @property
    def key_set(self) -> KeySet: ...

    def segments(self, valid: Sequence[int]) -> Sequence[int]:
        """How many blocks each request has, where so many stand in each of the `rests`."""


def users_by_blocks(requests: list[Sequence[bytes]]) -> ByBlocks:
    """The encoded users of requests."""
    return users_together(requests) or _ByBlocks(requests)


class _ByBlocks:
    def __init__(self, requests: Sequence[Sequence[bytes]]) -> None:
        self._requests = [list(users) for users in requests]
        self._user_ids = users_by_rest(list(chain.from_iterable(self._requests)))
        self.rests = list(self._user_ids)
        self.sizes = [len(user_ids) for user_ids in self._user_ids.values()]

    @cached_property
    def keys(self) -> Sequence[Sequence[bytes]] | None:
        """See `ByBlocks`."""
        found = []
        for user_ids in self._user_ids.values():
            keys = encoded_platform_keys(user_ids)
            if keys is None:
                return None
            found.append(keys)
        different = len(frozenset(chain.from_iterable(found)))
        if different == sum(self.sizes):
            return found
        once = [list(dict.fromkeys(keys)) for keys in found]
        alone = all(len(set(users)) == len(users) for users in self._requests)
        return once if alone and sum(map(len, once)) == different else None

    @property
    def key_set(self) -> frozenset[bytes]:
        """See `ByBlocks`."""
        return frozenset(chain.from_iterable(self.keys or ()))

    def segments(self, valid: Sequence[int]) -> Sequence[int]:
        """See `ByBlocks`."""
        by_rest = dict(zip(self.rests, valid, strict=True))
        return [sum([by_rest[split_user(user)[1]] for user in users]) for users in self._requests]
