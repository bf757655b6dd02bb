"""What bodies and parameters may be, whoever reads them: the Lua filter, or a host that reads JSON itself.

Workers read this, too, and no pages with it: those are for the gateway alone.
"""

from collections.abc import Mapping

MAX_DEPTH = 64
"""Levels of nesting in a body (RFC 8259, section 9, lets a parser set a limit; the transcoder's is 100)."""

SCALAR_RULES = {
    "STRING": "must be a string",
    "INT32": "must be an integer of 32 bits",
    "INT64": "must be an integer of 64 bits",
    "BOOL": "must be true or false",
    "ENUM": "must be one of the known names",
}
"""Protobuf type → what a value must be. A type that comes into a request and is not here stops the start."""

DEFAULTS: Mapping[tuple[str, str], Mapping[str, bool]] = {("POST", "/rt-segment"): {"detail": False}}
"""What parameters are where they are not given, by method and path: REST's callers get no more than they ask for."""
