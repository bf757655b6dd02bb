"""Parses integers in files."""

import re

_is_integer = re.compile(r"-?[0-9]{1,20}").fullmatch


def integer_of(text: str) -> int | None:
    """The integer that a text consists of, in at most 20 decimal digits; None for any other text."""
    return int(text) if _is_integer(text) else None
