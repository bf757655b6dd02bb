"""Applies update masks (source: google/protobuf/field_mask.proto, and the requests in catalog.proto)."""

from collections.abc import Callable
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from instantaudience_server.catalog.records import Object, kind_of
from instantaudience_server.errors import NOT_EMPTY, AudienceError, Reason, invalid

FIXED = frozenset({"id", "member_id", "token_generation", "public_keys", "last_modified", "etag", "estimated_users"})
"""Fields that updates cannot change, in any kind of object."""


def edit_of(source: Object, mask: FieldMask) -> Callable[[Any], None]:
    """The edit that copies the fields that the mask names from `source` into an object.

    A field that is not set in `source` is cleared.

    Raises:
        AudienceError: SYNTAX, with the path that names no field or one that cannot be changed.
    """
    if not mask.paths:
        raise invalid("update_mask", NOT_EMPTY)
    paths = [path.split(".") for path in mask.paths]
    for path in paths:
        if path[0] in FIXED:
            raise _refusal(path, f"'{path[0]}' cannot be changed")
        if not _leads_to_a_field(source.DESCRIPTOR, path):
            raise _refusal(path, f"there is no such field of a {kind_of(source)}")

    def edit(target: Any) -> None:
        for path in paths:
            _copy(source, target, path)

    return edit


def _leads_to_a_field(message: Any, path: list[str]) -> bool:
    for name in path:
        field = None if message is None else message.fields_by_name.get(name)
        if field is None:
            return False
        message = None if field.is_repeated else field.message_type
    return True


def _copy(source: Any, target: Any, path: list[str]) -> None:
    """Copy one field from `source` to `target`."""
    name, *rest = path
    if rest:
        _copy(getattr(source, name), getattr(target, name), rest)
        return
    target.ClearField(name)
    target.MergeFrom(type(source)(**{field.name: value for field, value in source.ListFields() if field.name == name}))


def _refusal(path: list[str], text: str) -> AudienceError:
    return AudienceError(Reason.SYNTAX, f"'update_mask': '{'.'.join(path)}': {text}", field="update_mask")
