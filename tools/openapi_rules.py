"""Constraints of values in the OpenAPI document, beyond their types: the service's rules, taken from its code.

Only what callers should send: that empty parameters count as absent, for instance, does not help them. Rules that a
schema cannot express are listed where the document is tested (`tests/service/rest/test_reference_tried.py`).
"""

from collections.abc import Collection, Iterable
from typing import Any

from instantaudience_server.batch import shapes
from instantaudience_server.catalog.accounts import public_keys
from instantaudience_server.catalog.batch_settings import BatchField
from instantaudience_server.catalog.paging import MOST_ELEMENTS
from instantaudience_server.catalog.rules import LARGEST_ID, SEGMENT_LENGTHS
from instantaudience_server.catalog.segment_table import SORTS
from instantaudience_server.catalog.segments import fields as segment_fields
from instantaudience_server.catalog.segments import service as segment_service
from instantaudience_server.memberships import identity_service, privacy_service
from instantaudience_server.memberships.reading import identity
from instantaudience_server.process.clock import DAY, MOMENT
from instantaudience_server.sign_in.assertions import LONGEST_JWT

Schema = dict[str, Any]


def _whole(pattern: str) -> str:
    return f"^{pattern}$"


def _length(least: int, most: int) -> Schema:
    return {"minLength": least, "maxLength": most} if least else {"maxLength": most}


def _list(items: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": 1} | ({"maxItems": most} if most else {})


def _orders(fields: Iterable[str]) -> Schema:
    return {"enum": [f"{field}.{direction}" for field in fields for direction in ("asc", "desc")]}


def _one_of(values: Collection[str]) -> Schema:
    return {"enum": list(values)}


_GIVEN: Schema = {"minLength": 1}
_ID: Schema = {"minimum": 1}
_PAGES: Schema = {"start_element": {"minimum": 0}, "num_elements": {"minimum": 1, "format": None}}
"""Numbers of elements have no upper bound, as they are limited silently; None removes a keyword of the type's schema.
"""
_MOMENT: Schema = {"pattern": _whole(MOMENT)}
_STATE = _one_of(segment_fields.STATES)
_SEVERAL: Schema = {"maxItems": segment_service.MOST_AT_ONCE}
_SEPARATOR = _length(1, 1)
_OPTIONAL_SEPARATOR = _length(0, 1)
_BATCH_FIELD = f"(?:{'|'.join(BatchField)})"

FIELDS: dict[str, dict[str, Schema]] = {
    "Credentials": {"username": _GIVEN, "password": _GIVEN},
    "SignInWithJwtRequest": {
        "jwt": {"pattern": _whole(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"), "maxLength": LONGEST_JWT}
    },
    "GetMembershipsRequest": {"user_id": _GIVEN, "domain": _one_of(identity.DOMAINS)},
    "GetProcessedRequest": {"start": _MOMENT, "end": _MOMENT},
    "FindSegmentsRequest": {
        "id": _list({"type": "integer", "format": "int32", "minimum": 1, "maximum": LARGEST_ID}, MOST_ELEMENTS),
        "state": _STATE,
        "min_last_modified": {"pattern": _whole(f"(?:{MOMENT}|{DAY})")},
        "sort": _orders(SORTS),
        "fields": _list({"type": "string"} | _one_of([field.name for field in segment_fields.FIELDS])),
        **_PAGES,
    },
    "SegmentFields": {
        "code": {"type": ["string", "null"], "maxLength": SEGMENT_LENGTHS["code"][1]},
        "short_name": _length(*SEGMENT_LENGTHS["short_name"]),
        "description": {"type": ["string", "null"]} | _length(*SEGMENT_LENGTHS["description"]),
        "state": _STATE,
        "expire_minutes": {"type": ["integer", "null"], "format": "int32", "minimum": 0},
    },
    "AddSegmentRequest": {"segments": _SEVERAL},
    "ChangeSegmentRequest": {"segments": _SEVERAL},
    "RemoveSegmentRequest": {"id": _ID},
    "UserMapping": {
        "user_id": {"pattern": _whole(identity.PLATFORM_ID)},
        "external_ids": _list(
            {"type": "string"} | _length(1, identity.LONGEST_EXTERNAL_ID), identity_service.MOST_MAPPED
        ),
    },
    "NewPublicKey": {
        "name": _length(1, public_keys.LONGEST_NAME),
        "encoded_value": _length(1, public_keys.LONGEST_PEM),
    },
    "ChangePublicKeyRequest": {"key_id": _ID},
    "BatchConfig": {
        "separator_1": _SEPARATOR,
        "separator_2": _OPTIONAL_SEPARATOR,
        "separator_3": _SEPARATOR,
        "separator_4": _OPTIONAL_SEPARATOR,
        "separator_5": _OPTIONAL_SEPARATOR,
        "segment_fields": {"pattern": _whole(f"(?:{_BATCH_FIELD}(?:,{_BATCH_FIELD})*)?")},
    },
    "ConsumerRequest": {
        "identifier_type": _one_of(privacy_service.IDENTIFIER_TYPES),
        "request_type": _one_of(privacy_service.REQUEST_TYPES),
        "suppress_minutes": {"minimum": 0},
    },
    "FindJobsRequest": {
        "sort": _orders(name for name, field in shapes.FIELDS.items() if field.order is not None),
        **_PAGES,
    },
}
"""Message → field → keywords that are added to the schema of its type, or replace it."""

_ONE_OR_SEVERAL: Schema = {
    "if": {"required": ["segments"], "properties": {"segments": {"minItems": 1}}},
    "then": {"description": "`segment` is not there.", "not": {"required": ["segment"]}},
    "else": {"description": "`segment` is required.", "required": ["segment"]},
}
MESSAGES: dict[str, Schema] = {
    "AddSegmentRequest": _ONE_OR_SEVERAL,
    "ChangeSegmentRequest": _ONE_OR_SEVERAL,
    "ConsumerRequest": {
        "if": {"properties": {"identifier_type": {"const": "maid"}}},
        "then": {"properties": {"identifier": {"format": "uuid"}}},
        "else": {"properties": {"identifier": FIELDS["UserMapping"]["user_id"]}},
        "dependentSchemas": {"suppress_minutes": {"properties": {"request_type": {"const": "delete"}}}},
    },
}
"""Message → constraints between its fields. They are conditions, since generators of clients ignore these: for `oneOf`
or `anyOf` they generate unwieldy types."""
