"""Checks the schema of an Avro file: whether it has the required fields, and is safe to read with (source: Avro 1.12
specification, "Schema Declaration"; contract-neighbours, "Batch Segment Service", "Avro").

The sender of a file writes its schema too. A schema with arrays of values of zero bytes, or one that refers to itself,
could make the reader do any amount of work for a few bytes; such schemas are refused.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import fastavro

from instantaudience_server.batch.jobs import ErrorCode, FileFailedError

MOST_DEPTH = 20
MOST_NODES = 2000
"""The deepest nesting of types, and the most types when each name is expanded to its definition."""
_LEAST_BYTES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
SHORT_TEXT = 50
"""The most bytes of a text in a regular record."""
_NUMBERS = ("int", "long")
_LONG_FORM = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_TEXT_FORM = b"(?:%b)" % b"|".join(re.escape(bytes([2 * size])) + b".{%d}" % size for size in range(SHORT_TEXT + 1))
_FORMS = {
    "int": (_LONG_FORM, b"n"),
    "long": (_LONG_FORM, b"n"),
    "string": (_TEXT_FORM, b"t"),
    "boolean": (b".", b"b"),
    "null": (b"", b""),
}
"""Type → a regular expression for its encoded values, and a letter for `instantaudience_native.RecordReader`."""


class RecordSchema(NamedTuple):
    """A schema that is safe to read with. `uid` is the name of the record type of the field `uid`, empty if that is a
    plain value, or a union of several types.

    If records have only `uid` and `segments`, they may be regular: `uid_long` are the encoded bytes before the number
    of a plain `uid`, `segment_form` is a regular expression for encoded segments with short texts, and `segment_fields`
    has a letter for each of their fields. Otherwise, `uid_long` is None.
    """

    parsed: Any
    uid: str
    uid_long: bytes | None
    segment_form: bytes
    segment_fields: bytes


class _Type(NamedTuple):
    """A checked type, reduced to what readers need; the fewest bytes of a value, and the number of types in it."""

    schema: Any
    least_bytes: int
    nodes: int


def read_schema(encoded: bytes) -> RecordSchema:
    """Check a file's schema, given as JSON.

    Raises:
        FileFailedError: it is not a schema, is unsafe, or its records lack required fields.
    """
    checker = _Checker()
    try:
        schema = checker.check(json.loads(encoded), "", 0).schema
    except (ValueError, RecursionError):
        raise _refusal("is no JSON") from None
    fields = {each["name"]: each["type"] for each in schema["fields"]} if _is(schema, "record") else {}
    segments = checker.meant(fields.get("segments"))
    items = segments["items"] if _is(segments, "array") else None
    item = checker.meant(items)
    names = {each["name"] for each in item["fields"]} if _is(item, "record") else set()
    if "uid" not in fields or not names & {"id", "code"}:
        raise _refusal("has no records of 'uid' and 'segments', an array of records with 'id' or 'code'")
    uid = checker.meant(fields["uid"])
    is_plain = list(fields) == ["uid", "segments"] and _is(fields["segments"], "array")
    form = _form(items) if is_plain else None
    uid_long = _long_in(fields["uid"]) if form is not None else None
    try:
        parsed = fastavro.parse_schema(schema)
    except Exception as error:  # fastavro raises many kinds, and this is the sender's fault
        raise _refusal(f"cannot be used: {type(error).__name__}") from None
    return RecordSchema(parsed, _short(uid["name"]) if _is(uid, "record") else "", uid_long, *(form or (b"", b"")))


def _long_in(uid: Any) -> bytes | None:
    """The encoded bytes before the number of a plain ID; None if the schema has none."""
    if uid in _NUMBERS:
        return b""
    if isinstance(uid, list):
        places = [index for index, each in enumerate(uid) if each in _NUMBERS]
        return bytes([2 * places[0]]) if len(places) == 1 and places[0] < 64 else None
    return None


def _form(schema: Any) -> tuple[bytes, bytes] | None:
    """A regular expression for encoded values of a type, with texts of up to `SHORT_TEXT` bytes, and their letters;
    None if the type has none."""
    if isinstance(schema, str):
        return _FORMS.get(schema)
    if _is(schema, "enum"):
        return _FORMS["long"]
    if _is(schema, "record"):
        fields = [_form(each["type"]) for each in schema["fields"]]
        found = [each for each in fields if each is not None]
        return (
            (b"".join(each for each, _ in found), b"".join(each for _, each in found)) if None not in fields else None
        )
    return None


def _is(schema: Any, kind: str) -> bool:
    return isinstance(schema, dict) and schema["type"] == kind


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _refusal(text: str) -> FileFailedError:
    return FileFailedError(ErrorCode.UNKNOWN_SCHEMA, f"The Avro schema {text}")


class _Checker:
    """Checks a schema recursively. Logical types are dropped: their values are read as the underlying types."""

    def __init__(self) -> None:
        self._named: dict[str, _Type | None] = {}
        """Full name → the type; None while it is being defined."""
        self._nodes = 0

    def check(self, schema: Any, namespace: str, depth: int) -> _Type:
        if depth > MOST_DEPTH:
            raise _refusal("is too deep")
        if isinstance(schema, str):
            checked = self._by_name(schema, namespace)
        elif isinstance(schema, list):
            branches = [self.check(each, namespace, depth + 1) for each in schema]
            if not branches:
                raise _refusal("has an empty union")
            least = 1 + min(each.least_bytes for each in branches)
            checked = _Type([each.schema for each in branches], least, _sum_nodes(branches))
        elif isinstance(schema, dict):
            checked = self._complex(schema, namespace, depth)
        else:
            raise _refusal("has a type that is none")
        self._nodes += checked.nodes
        if checked.nodes > MOST_NODES or self._nodes > MOST_DEPTH * MOST_NODES:
            raise _refusal("is too large")
        return checked

    def meant(self, schema: Any) -> Any:
        """The type that a name stands for, or a union of one type and null; any other type as it is."""
        others = [each for each in schema if each != "null"] if isinstance(schema, list) else []
        schema = others[0] if len(others) == 1 else schema
        found = self._named.get(schema) if isinstance(schema, str) else None
        return schema if found is None else found.schema

    def _by_name(self, name: str, namespace: str) -> _Type:
        if name in _LEAST_BYTES:
            return _Type(name, _LEAST_BYTES[name], 1)
        for full in (_full_name(name, namespace), name):
            if full in self._named:
                found = self._named[full]
                if found is None:
                    raise _refusal("refers to itself")
                return _Type(full, found.least_bytes, found.nodes)
        raise _refusal("names a type that is not defined")

    def _complex(self, schema: Mapping[str, Any], namespace: str, depth: int) -> _Type:
        kind = schema.get("type")
        if kind == "array":
            items = self.check(schema.get("items"), namespace, depth + 1)
            if not items.least_bytes:
                raise _refusal("has an array of nothing")
            return _Type({"type": "array", "items": items.schema}, 1, items.nodes + 1)
        if kind == "map":
            values = self.check(schema.get("values"), namespace, depth + 1)
            return _Type({"type": "map", "values": values.schema}, 1, values.nodes + 1)
        if kind in ("record", "enum", "fixed"):
            return self._define(kind, schema, namespace, depth)
        return self.check(kind, namespace, depth + 1)

    def _define(self, kind: str, schema: Mapping[str, Any], namespace: str, depth: int) -> _Type:
        name = schema.get("name")
        if not isinstance(name, str):
            raise _refusal("has a type without a name")
        own_namespace = schema.get("namespace")
        full = _full_name(name, own_namespace if isinstance(own_namespace, str) else namespace)
        if full in self._named:
            raise _refusal("defines a name twice")
        self._named[full] = None
        if kind == "record":
            defined = self._record(full, schema.get("fields"), depth)
        elif kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not all(isinstance(each, str) for each in symbols):
                raise _refusal("has an enum without symbols")
            defined = _Type({"type": kind, "name": full, "symbols": symbols}, 1, 1)
        else:
            size = schema.get("size")
            if type(size) is not int or size < 0:
                raise _refusal("has a fixed type without a size")
            defined = _Type({"type": kind, "name": full, "size": size}, size, 1)
        self._named[full] = defined
        return defined

    def _record(self, name: str, fields: Any, depth: int) -> _Type:
        namespace = name.rpartition(".")[0]
        checked: dict[str, _Type] = {}
        for field in fields if isinstance(fields, list) else ():
            field_name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(field_name, str) or field_name in checked:
                raise _refusal("has a field without a name of its own")
            checked[field_name] = self.check(field.get("type"), namespace, depth + 1)
        types = list(checked.values())
        plain = [{"name": each, "type": found.schema} for each, found in checked.items()]
        record = {"type": "record", "name": name, "fields": plain}
        return _Type(record, sum(each.least_bytes for each in types), _sum_nodes(types))


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _sum_nodes(types: list[_Type]) -> int:
    return 1 + sum(each.nodes for each in types)
