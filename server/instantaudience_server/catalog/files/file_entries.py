"""Writes the entries of the catalog's file: one line of YAML for each object."""

import json
import re
from typing import Any

from google.protobuf.message import Message
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import original_fields
from instantaudience_server.catalog.records import Object

BATCH_FIELD_PREFIX = "BATCH_FIELD_"
"""The prefix of `BatchField`'s names in catalog.proto; the file has them without it."""
OUTPUT_ONLY = ("etag", "last_modified", "token_generation", "estimated_users")
"""Fields that the service alone sets."""
_PLAIN_KEY = re.compile("(?!(?:null|true|false|yes|no|on|off|y|n)$)[a-z_]+")
"""Keys that YAML reads as text without quotes."""
_NOT_PRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def write_entry(message: Object) -> str:
    """The line of an object in its list, without fields that have their default."""
    return f"- {_flow(_fields(message))}\n"


def _fields(message: Message) -> dict[str, Any]:
    fields = {each.name: value for each, value in message.ListFields() if each.name not in OUTPUT_ONLY}
    for name in ("limits", "batch"):
        if name in fields:
            fields[name] = _fields(fields[name])
    if "fields" in fields:
        fields["fields"] = [pb.BatchField.Name(each).removeprefix(BATCH_FIELD_PREFIX) for each in fields["fields"]]
    if "original_fields" in fields:
        fields["original_fields"] = original_fields.as_json(fields["original_fields"])
    if fields.pop("deactivated", False):
        fields["active"] = False
    if fields.pop("role", None) == pb.ROLE_ADMIN:
        fields["role"] = "admin"
    if "durability" in fields:
        fields["durability"] = pb.Durability.Name(fields["durability"]).removeprefix("DURABILITY_").lower()
    if fields.pop("state", None) == pb.SEGMENT_STATE_INACTIVE:
        fields["state"] = "inactive"
    return fields


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else _flow(name)


def _flow(value: Any) -> str:
    """A value as YAML in flow style. JSON's strings are valid, but for some characters that YAML wants escaped."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)}: {_flow(each)}' for key, each in value.items())}}}"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if isinstance(value, float) and "." not in repr(value):  # YAML 1.1 reads 1e-05 as text
        return repr(value).replace("e", ".0e")
    if isinstance(value, bool | int | float) or value is None:
        return json.dumps(value)
    return f"[{', '.join(map(_flow, value))}]"
