"""Rules for request bodies and parameters, shared by the Lua filter and by hosts that read JSON themselves.

Workers import this module, so it must not import the pages, which only the gateway needs.
"""

from collections.abc import Mapping

MAX_DEPTH = 64
"""Maximum nesting of a body (RFC 8259, section 9, allows parsers to set a limit; the transcoder's is 100)."""

SCALAR_RULES = {
    "STRING": "must be a string",
    "INT32": "must be an integer of 32 bits",
    "INT64": "must be an integer of 64 bits",
    "BOOL": "must be true or false",
    "ENUM": "must be one of the known names",
}
"""Protobuf type → rule for values. A request field of a type that is missing here stops the start."""

DEFAULTS: Mapping[tuple[str, str], Mapping[str, bool]] = {("POST", "/rt-segment"): {"detail": False}}
"""Values of parameters that are not given, by method and path: REST callers get only what they ask for."""
