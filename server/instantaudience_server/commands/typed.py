"""Parsers for the values of options and arguments."""

import json
import re
from typing import Any

import click
from google.protobuf.struct_pb2 import Struct


def number(value: str) -> int:
    """Parse an int32, the type of most fields."""
    if not re.fullmatch("-?[0-9]{1,10}", value) or not -(2**31) <= int(value) < 2**31:
        raise click.BadParameter(f"'{value}' is no whole number of 32 bits")
    return int(value)


def ids(value: str) -> list[int]:
    """Parse IDs separated by commas; an empty text has none."""
    return [number(word.strip()) for word in value.split(",") if word.strip()]


def large_number(value: str) -> int:
    """Parse a non-negative integer of at most 18 digits, for int64 fields."""
    if not re.fullmatch("[0-9]{1,18}", value):
        raise click.BadParameter(f"'{value}' is no whole number")
    return int(value)


def names(value: str) -> list[str]:
    """Parse names separated by commas; an empty text has none."""
    return [text(word.strip()) for word in value.split(",") if word.strip()]


def text(value: str) -> str:
    """Check that a value is valid in the terminal's encoding."""
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise click.BadParameter("this is no readable text")
    return value


def json_object(value: str) -> dict[str, Any]:
    """Parse a JSON object."""
    from instantaudience_server.catalog.original_fields import DIGITS_LOST, have_all_digits  # few commands need it

    try:
        read = json.loads(value)
        if isinstance(read, dict):
            Struct().update(read)
            if not have_all_digits(read):
                raise click.BadParameter(DIGITS_LOST)
            return read
    # Invalid JSON, nested too deeply, with a lone surrogate, or with a number that does not fit.
    except (ValueError, RecursionError, OverflowError):
        pass
    raise click.BadParameter("this is no object in JSON")


class PathType(click.Path):
    """A path. Empty values, which a settings file may contain, are rejected: they would mean the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" or "\0" in str(value):
            self.fail(f"{value!r} is no path", param, ctx)
        return super().convert(value, param, ctx)
