"""Lua literals."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

_LUA_BYTES = [chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\{byte:03d}" for byte in range(256)]

Literal: TypeAlias = "str | bytes | int | bool | Mapping[str, Literal] | Sequence[Literal] | None"


def lua_literal(value: Literal) -> str:
    """A value as a Lua literal; keys with the value None are omitted."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return lua_literal(value.encode())
        case bytes():
            return f'"{"".join([_LUA_BYTES[byte] for byte in value])}"'
        case Mapping():
            items = (f"[{lua_literal(key)}]={lua_literal(item)}" for key, item in value.items() if item is not None)
            return "{" + ",".join(items) + "}"
        case Sequence():
            return "{" + ",".join(map(lua_literal, value)) + "}"
        case _:
            raise TypeError(f"no Lua form: {value!r}")
