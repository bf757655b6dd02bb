"""The fields of segments as REST callers send and get them (source: segment.proto; contract-neighbours, "Conventions of
all REST answers")."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.struct_pb2 import Value
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.catalog import original_fields
from instantaudience_server.errors import AudienceError, Reason, invalid
from instantaudience_server.process.clock import written_time

STATES = {
    "active": catalog_pb2.SEGMENT_STATE_ACTIVE,
    "inactive": catalog_pb2.SEGMENT_STATE_INACTIVE,
}
"""The values of `state`."""
MOST_USERS = 2**31 - 1
"""The largest `estimated_users`."""

_is_integer = re.compile(r"[+-]?[0-9]+").fullmatch


class Field(NamedTuple):
    """A field of segments: its name and type, whether lists can be filtered by it, and whether callers can set it."""

    name: str
    type: str
    filter_by: bool = False
    read_only: bool = False


FIELDS = (
    Field("id", "int", filter_by=True, read_only=True),
    Field("code", "string", filter_by=True),
    Field("state", "string", filter_by=True),
    Field("short_name", "string"),
    Field("description", "string"),
    Field("member_id", "int", filter_by=True),
    Field("expire_minutes", "int"),
    Field("last_modified", "date", filter_by=True, read_only=True),
    *(Field(name, "any") for name in sorted(original_fields.NAMES)),
    Field("estimated_users", "int", read_only=True),
)
"""All fields, in the order of answers."""


def state_of(text: str) -> catalog_pb2.SegmentState:
    """The state that a text names.

    Raises:
        AudienceError: SYNTAX.
    """
    if text not in STATES:
        raise invalid("state", f"must be {' or '.join(map(repr, STATES))}")
    return STATES[text]


def change(segment: catalog_pb2.Segment, fields: pb.SegmentFields) -> None:
    """Copy the fields that are set into a segment. Null clears a nullable field, and an empty string a nullable text.

    Raises:
        AudienceError: SYNTAX, for a value of the wrong type, an unknown state, or `original_fields` that are too long
            or too deeply nested.
    """
    if fields.HasField("state"):
        segment.state = state_of(fields.state)
    if fields.HasField("short_name"):
        segment.short_name = fields.short_name
    for name, read in _NULLABLE.items():
        if fields.HasField(name):
            value = read(name, getattr(fields, name))
            if value is None:
                segment.ClearField(name)
            else:
                setattr(segment, name, value)
    for name in original_fields.NAMES:
        if fields.HasField(name):
            segment.original_fields.fields.pop(name, None)
            if not _is_null(getattr(fields, name)):
                segment.original_fields.fields[name].CopyFrom(getattr(fields, name))
    names = ", ".join(sorted(segment.original_fields.fields))
    if not original_fields.are_short(segment.original_fields):
        raise invalid(names, f"must be JSON of at most {original_fields.MOST_BYTES} bytes together")
    if not original_fields.are_shallow(segment.original_fields):
        raise invalid(names, original_fields.TOO_DEEP)


def entry_of(segment: catalog_pb2.Segment, estimated_users: int | None) -> dict[str, Any]:
    """A segment with all `FIELDS`, for answers; `estimated_users` is left out if None."""
    size = {} if estimated_users is None else {"estimated_users": min(estimated_users, MOST_USERS)}
    return {
        "id": segment.id,
        "code": segment.code or None,
        "state": "inactive" if segment.state == catalog_pb2.SEGMENT_STATE_INACTIVE else "active",
        "short_name": segment.short_name,
        "description": segment.description or None,
        "member_id": segment.member_id,
        "expire_minutes": segment.expire_minutes if segment.HasField("expire_minutes") else None,
        "last_modified": written_time(segment.last_modified.seconds),
        **original_fields.as_json(segment.original_fields),
        **size,
    }


def _is_null(value: Value) -> bool:
    return value.WhichOneof("kind") in (None, "null_value")


def _text(name: str, value: Value) -> str | None:
    if _is_null(value):
        return None
    if value.WhichOneof("kind") != "string_value":
        raise AudienceError(Reason.SYNTAX, f"segment.{name}: must be a string.", field=name)
    return value.string_value or None


def _integer(name: str, value: Value) -> int | None:
    """A nullable integer of 32 bits, in any form that JSON bodies may have (docs/api.md, "How strict JSON is").

    Raises:
        AudienceError: SYNTAX.
    """
    if _is_null(value):
        return None
    number = value.number_value if value.WhichOneof("kind") == "number_value" else None
    if _is_integer(value.string_value):
        number = float(value.string_value)
    if number is None or not number.is_integer() or not -(2**31) <= number < 2**31:
        raise AudienceError(Reason.SYNTAX, f"segment.{name}: must be an integer of 32 bits.", field=name)
    return int(number)


_NULLABLE: dict[str, Callable[[str, Value], str | int | None]] = {
    "code": _text,
    "description": _text,
    "expire_minutes": _integer,
}
