"""Avro files of memberships."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import fastavro

SEGMENT_SCHEMA: dict[str, Any] = {
    "name": "segment",
    "type": "record",
    "fields": [
        {"name": "id", "type": "int", "default": 0},
        {"name": "code", "type": "string", "default": ""},
        {"name": "member_id", "type": "int", "default": 0},
        {"name": "expiration", "type": "int", "default": 0},
        {"name": "timestamp", "type": "long", "default": 0},
        {"name": "value", "type": "int", "default": 0},
    ],
}


def record(name: str, **fields: Any) -> dict[str, Any]:
    """The schema of a record."""
    return {"name": name, "type": "record", "fields": [{"name": each, "type": kind} for each, kind in fields.items()]}


DOMAIN = {"name": "domain", "type": "enum", "symbols": ["idfa", "sha1udid", "md5udid", "openudid", "aaid", "sha1mac"]}
UID_TYPES: list[Any] = [
    {"name": "anid", "type": "long"},
    record("external_id", id="string", member_id="int"),
    record("device_id", id="string", domain=DOMAIN),
    record("eid", id="string", source="string"),
    record("ifa", id="string", type="string"),
    record("xfa", device_model_id="int", device_make_id="int", ip="string"),
    record("hem", id="string"),
    record("aes_encrypted", id="bytes"),
]


def user_schema(uid: Any = UID_TYPES, segment: Any = SEGMENT_SCHEMA, **more: Any) -> dict[str, Any]:
    """The schema of a file's records."""
    schema = record("user", uid=uid, segments={"type": "array", "items": segment}, **more)
    return schema | {"namespace": "audience.files"}


FULL_SCHEMA = user_schema()


def avro_file(
    records: Iterable[Mapping[str, Any]], schema: Any = FULL_SCHEMA, codec: str = "null", sync_interval: int = 16_000
) -> bytes:
    """A file."""
    file = io.BytesIO()
    fastavro.writer(file, schema, records, codec, sync_interval=sync_interval)
    return file.getvalue()


def segment(segment_id: int = 5848, **fields: Any) -> dict[str, Any]:
    """A segment of a record."""
    return {"id": segment_id, "code": "", "member_id": 0, "expiration": 0, "timestamp": 0, "value": 0} | fields
