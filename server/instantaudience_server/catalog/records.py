"""The catalog's objects as the cluster keeps them: serialised messages without `etag` (source: catalog.proto)."""

import copy
import hashlib

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.store.interfaces.catalog import Kind

Object = pb.Member | pb.User | pb.Segment

_MESSAGES: dict[Kind, type[Object]] = {Kind.MEMBER: pb.Member, Kind.USER: pb.User, Kind.SEGMENT: pb.Segment}
_ETAG_CHARACTERS = 16


def kind_of(message: Object) -> Kind:
    """The kind of object that a message is."""
    return next(kind for kind, message_type in _MESSAGES.items() if isinstance(message, message_type))


def encode(message: Object) -> bytes:
    """The object as the cluster keeps it."""
    if message.etag:
        message = copy.copy(message)
        message.ClearField("etag")
    return message.SerializeToString(deterministic=True)


def decode(kind: Kind, data: bytes) -> Object:
    """The object with its `etag`, as callers see it."""
    message = _MESSAGES[kind].FromString(data)
    message.etag = etag_of(data)
    return message


def decode_segment(data: bytes) -> pb.Segment:
    """The segment with its `etag`, as callers see it."""
    message = pb.Segment.FromString(data)
    message.etag = etag_of(data)
    return message


def stamp(message: Object, now_ms: int, *, is_new: bool, former_generation: int = 0) -> None:
    """Set the fields that the service sets in an object that is about to be written: a segment's `last_modified`, and a
    new user's `token_generation`. `now_ms` is a Unix time in ms.

    The generation is larger than any of a deleted user with the same ID: `former_generation` is the largest one of all
    deleted users.
    """
    if isinstance(message, pb.Segment):
        message.last_modified.FromSeconds(now_ms // 1000)
    elif isinstance(message, pb.User) and is_new:
        message.token_generation = max(now_ms // 1000, former_generation + 1)


def generation_of(data: bytes) -> int:
    """The token generation of an encoded user."""
    return pb.User.FromString(data).token_generation


def revoke_all(data: bytes, now_ms: int, former_generation: int) -> bytes:
    """An encoded user, with a token generation that is larger than any that it had before `now_ms` (Unix time in ms)
    and than `former_generation`."""
    user = pb.User.FromString(data)
    user.token_generation = max(user.token_generation + 1, now_ms // 1000, former_generation + 1)
    return encode(user)


def etag_of(data: bytes) -> str:
    """The version of an encoded object: a hash of it."""
    return hashlib.sha256(data).hexdigest()[:_ETAG_CHARACTERS]


def unique_user_name(username: str) -> str:
    """The `unique_name` of the user with this name."""
    return f"user:{username}"


def unique_name(message: Object) -> str | None:
    """The name that no other object may have: of a user, the user name; of a segment with a code, its member and the
    code, regardless of case. None: the object has none."""
    if isinstance(message, pb.User):
        return unique_user_name(message.username)
    if isinstance(message, pb.Segment) and message.HasField("code"):
        return f"segment:{message.member_id}:{message.code.casefold()}"
    return None


def owner_id(message: Object) -> int:
    """The member that a user or a segment belongs to; 0 for a member."""
    return 0 if isinstance(message, pb.Member) else message.member_id
