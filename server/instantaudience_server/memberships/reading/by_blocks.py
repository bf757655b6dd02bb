"""Groups the users of requests by the part of their message after the ID, which is mostly their blocks.

Campaigns add many users to few segments, so a request has few different such parts, and for most users only the ID has
to be looked at.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import Protocol

from instantaudience_server.memberships.reading.extension import users_together
from instantaudience_server.memberships.reading.identity import encoded_platform_keys
from instantaudience_server.memberships.reading.wire import split_user, users_by_rest


class KeySet(Iterable[bytes], Protocol):
    """The keys of users."""

    def isdisjoint(self, others: Iterable[bytes], /) -> bool:
        """Whether none of `others` is in this set."""


class ByBlocks(Protocol):
    """The users of requests, grouped by rest: their encoded message without the ID.

    `rests` has the different rests, and `sizes`, for each, how many users of the requests have it.
    `keys` has the keys of these users, for each rest; a user that several requests have is there once. It is None
    if a user has no platform ID or one of 20 digits, is in a request twice, or has different rests.
    `key_set` has all keys.
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
        """How many valid blocks each request has, given how many each of the `rests` has."""


def users_by_blocks(requests: list[Sequence[bytes]]) -> ByBlocks:
    """Group the encoded users of requests, natively where the extension is installed."""
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
