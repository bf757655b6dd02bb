"""The catalog's objects as the cluster keeps them: serialised messages without `etag` (source: catalog.proto)."""

import copy
import hashlib

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.store.interfaces.catalog import Kind

Object = pb.Member | pb.User | pb.Segment

_MESSAGES: dict[Kind, type[Object]] = {Kind.MEMBER: pb.Member, Kind.USER: pb.User, Kind.SEGMENT: pb.Segment}
_ETAG_CHARACTERS = 16


def kind_of(message: Object) -> Kind:
    """What a message describes."""
    return next(kind for kind, message_type in _MESSAGES.items() if isinstance(message, message_type))


def encode(message: Object) -> bytes:
    """What is kept of an object."""
    if message.etag:
        message = copy.copy(message)
        message.ClearField("etag")
    return message.SerializeToString(deterministic=True)


def decode(kind: Kind, data: bytes) -> Object:
    """An object as callers see it, with its `etag`."""
    message = _MESSAGES[kind].FromString(data)
    message.etag = etag_of(data)
    return message


def decode_segment(data: bytes) -> pb.Segment:
    """A segment as callers see it, with its `etag`."""
    message = pb.Segment.FromString(data)
    message.etag = etag_of(data)
    return message


def stamp(message: Object, now_ms: int, *, is_new: bool, former_generation: int = 0) -> None:
    """Note the time (Unix time in ms) in an object that is about to be written, where its kind has it noted.

    A new user's tokens begin a generation later than any of a user that had the same ID before: than
    `former_generation`, the largest one of users that are gone.
    """
    if isinstance(message, pb.Segment):
        message.last_modified.FromSeconds(now_ms // 1000)
    elif isinstance(message, pb.User) and is_new:
        message.token_generation = max(now_ms // 1000, former_generation + 1)


def generation_of(data: bytes) -> int:
    """The token generation of a user as it is kept."""
    return pb.User.FromString(data).token_generation


def revoke_all(data: bytes, now_ms: int, former_generation: int) -> bytes:
    """A user as it is kept, with a token generation later than any that it had before now (Unix time in ms), and later
    than `former_generation`."""
    user = pb.User.FromString(data)
    user.token_generation = max(user.token_generation + 1, now_ms // 1000, former_generation + 1)
    return encode(user)


def etag_of(data: bytes) -> str:
    """The version of an object: it differs whenever what is kept differs."""
    return hashlib.sha256(data).hexdigest()[:_ETAG_CHARACTERS]


def unique_user_name(username: str) -> str:
    """What no other object than the user of this name may have (see `unique_name`)."""
    return f"user:{username}"


def unique_name(message: Object) -> str | None:
    """What no other object may have: a user's name; a segment's code, whatever its case, in its member."""
    if isinstance(message, pb.User):
        return unique_user_name(message.username)
    if isinstance(message, pb.Segment) and message.HasField("code"):
        return f"segment:{message.member_id}:{message.code.casefold()}"
    return None


def owner_id(message: Object) -> int:
    """The member that a user or a segment belongs to; 0 for a member."""
    return 0 if isinstance(message, pb.Member) else message.member_id
