"""What is typed, as the types of options and arguments read it."""

import json
import re
from typing import Any

import click
from google.protobuf.struct_pb2 import Struct


def number(value: str) -> int:
    """An int32, as most of the fields are."""
    if not re.fullmatch("-?[0-9]{1,10}", value) or not -(2**31) <= int(value) < 2**31:
        raise click.BadParameter(f"'{value}' is no whole number of 32 bits")
    return int(value)


def ids(value: str) -> list[int]:
    """IDs with commas between; none in an empty text."""
    return [number(word.strip()) for word in value.split(",") if word.strip()]


def large_number(value: str) -> int:
    """An int64."""
    if not re.fullmatch("[0-9]{1,18}", value):
        raise click.BadParameter(f"'{value}' is no whole number")
    return int(value)


def names(value: str) -> list[str]:
    """Names with commas between; none in an empty text."""
    return [text(word.strip()) for word in value.split(",") if word.strip()]


def text(value: str) -> str:
    """What was typed, if it is in the terminal's encoding."""
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise click.BadParameter("this is no readable text")
    return value


def json_object(value: str) -> dict[str, Any]:
    """An object in JSON."""
    from instantaudience_server.catalog.original_fields import DIGITS_LOST, have_all_digits  # few commands need it

    try:
        read = json.loads(value)
        if isinstance(read, dict):
            Struct().update(read)
            if not have_all_digits(read):
                raise click.BadParameter(DIGITS_LOST)
            return read
    # No JSON, far too deep, or with half of a character or a number that no field can hold.
    except (ValueError, RecursionError, OverflowError):
        pass
    raise click.BadParameter("this is no object in JSON")


class PathType(click.Path):
    """A path. In a file of settings it may hold anything; nothing would be the directory that one is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" or "\0" in str(value):
            self.fail(f"{value!r} is no path", param, ctx)
        return super().convert(value, param, ctx)
