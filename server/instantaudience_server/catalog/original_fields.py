"""The fields of segments that only the original platform uses: stored and returned as they came, without any effect
(source: contract-neighbours, "Conventions of all REST answers")."""

import json
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict

NAMES = frozenset(
    {
        "advertiser_id",
        "category",
        "provider_id",
        "price",
        "piggyback_pixels",
        "querystring_mapping",
        "querystring_mapping_key_value",
        "enable_rm_piggyback",
        "max_usersync_pixels",
        "object_type",
    }
)
MOST_BYTES = 4096
"""The most bytes of all such fields of a segment together, as JSON."""
MOST_LEVELS = 16
"""The deepest nesting of lists and objects in a field. Each level is up to three nested messages, and the protobuf
parsers of callers who list segments accept about a hundred."""
TOO_DEEP = f"must have at most {MOST_LEVELS} levels of lists and objects"


def as_json(fields: struct_pb2.Struct) -> dict[str, Any]:
    """The fields as Python values for `json`; whole numbers are integers.

    Raises:
        ValueError: there is a number that JSON cannot express.
    """
    read: dict[str, Any] = _whole(MessageToDict(fields))
    return read


def have_all_digits(value: Any) -> bool:
    """Whether doubles, as which numbers are stored, hold all integers in this JSON value exactly.

    Raises:
        OverflowError: an integer exceeds the range of doubles.
    """
    if isinstance(value, dict):
        return all(map(have_all_digits, value.values()))
    if isinstance(value, list):
        return all(map(have_all_digits, value))
    return not isinstance(value, int) or int(float(value)) == value


DIGITS_LOST = "a double has fewer digits than a number in it: write that as a string"


def are_short(fields: struct_pb2.Struct) -> bool:
    """Whether the fields can be written as JSON of at most `MOST_BYTES` bytes."""
    if not fields.fields:
        return True
    try:
        text = json.dumps(as_json(fields), ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return False
    return len(text.encode()) <= MOST_BYTES


def are_shallow(fields: struct_pb2.Struct) -> bool:
    """Whether no field is nested more deeply than `MOST_LEVELS`. The fields must be `are_short`."""
    return not fields.fields or all(_levels(value) <= MOST_LEVELS for value in as_json(fields).values())


def _levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
