"""Users by their location in the cluster, and changes of users."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from instantaudience.v1.audience_pb2 import ApplySegmentsRequest, RtSegment
from instantaudience_server.memberships.reading.extension import users_together
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.store.interfaces.memberships import Alike, Changes, MembershipStore, UserChanges
from instantaudience_server.store.keys import key_slot

if TYPE_CHECKING:
    from instantaudience_native import UserKeys

PLATFORM = b"m:p:"


def for_each(keys: Iterable[bytes], user_changes: UserChanges) -> Changes:
    """The same changes for each user."""
    return [Alike(list(keys), user_changes)]


def of_users(changes: Mapping[bytes, UserChanges]) -> Changes:
    """Separate changes for each user."""
    return [Alike([key], user_changes) for key, user_changes in changes.items()]


def user_key(user_id: int) -> bytes:
    """The key of a platform user (design, "Storage")."""
    return PLATFORM + b"%d" % user_id


def native_keys(keys: Iterable[bytes]) -> "UserKeys":
    """Keys of platform users, as the extension reads them; it must be installed."""
    users = [RtSegment(user_id=key.removeprefix(PLATFORM).decode()) for key in keys]
    read = ApplyRequest.FromString(ApplySegmentsRequest(rt_segment=users).SerializeToString())
    found = users_together([read.users])
    assert found is not None
    (native,) = found.keys
    return native


def users_of_slot(slot: int, count: int) -> list[bytes]:
    """Keys of platform users in one slot."""
    keys: list[bytes] = []
    user_id = 0
    while len(keys) < count:
        user_id += 1
        key = user_key(user_id)
        if key_slot(key) == slot:
            keys.append(key)
    return keys


def user_of_slots(first: int, last: int) -> bytes:
    """The key of a platform user in a range of slots."""
    user_ids = iter(range(1, 10**6))
    return next(key for user_id in user_ids if first <= key_slot(key := user_key(user_id)) <= last)


def users_of_slots(first: int, last: int, count: int) -> list[str]:
    """IDs of platform users in a range of slots."""
    user_ids = (user_id for user_id in range(1, 10**6) if first <= key_slot(user_key(user_id)) <= last)
    return [str(user_id) for user_id in islice(user_ids, count)]


async def write(store: MembershipStore, changes: Changes, deadline: float) -> None:
    """Write changes, and wait for all of them; raises the error of the first that failed."""
    writing = store.write(changes, deadline)
    await writing.done
    for error in writing.failures().values():
        raise error
