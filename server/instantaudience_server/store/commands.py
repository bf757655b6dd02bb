"""The commands that the service sends, packed for the wire.

`HSETEX` sets fields and their expiry in one atomic step (https://redis.io/docs/latest/commands/hsetex/): Redis 8.0 or
Valkey 9.0. Without an expiry option it also takes away the expiry that a field had.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hiredis

from instantaudience_server.store.keys import key_slot

# hiredis declares a tuple of one argument where it takes any number.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


class Command(NamedTuple):
    """One command on one key: the key's slot, and the bytes for the wire."""

    slot: int
    packed: bytes


Fields = Sequence[int]
"""Segment IDs and values in turn: `[segment ID, value, segment ID, value, …]`."""


def set_until(key: bytes, end_ms: int, fields: Fields) -> Command:
    """Set memberships that end at `end_ms` (Unix time in ms)."""
    return Command(key_slot(key), _pack((b"HSETEX", key, b"PXAT", end_ms, b"FIELDS", len(fields) >> 1, *fields)))


def set_forever(key: bytes, fields: Fields) -> Command:
    """Set memberships that never end."""
    return Command(key_slot(key), _pack((b"HSETEX", key, b"FIELDS", len(fields) >> 1, *fields)))


def remove(key: bytes, segment_ids: Sequence[int]) -> Command:
    """Remove memberships; those that do not stand are no error."""
    return Command(key_slot(key), _pack((b"HDEL", key, *segment_ids)))


def read_values(key: bytes) -> Command:
    """Read every membership and its value; `read_ends` says which end when."""
    return Command(key_slot(key), _pack((b"HGETALL", key)))


def read_ends(key: bytes, segment_ids: Sequence[int]) -> Command:
    """Read when memberships end: a list of Unix times in ms, -1 for never, -2 for one that is gone."""
    return Command(key_slot(key), _pack((b"HPEXPIRETIME", key, b"FIELDS", len(segment_ids), *segment_ids)))


def get(key: bytes) -> Command:
    """Read a string; the reply is None when there is none."""
    return Command(key_slot(key), _pack((b"GET", key)))


def set_string_until(key: bytes, value: bytes, end_ms: int) -> Command:
    """Set a string that ends at `end_ms` (Unix time in ms)."""
    return Command(key_slot(key), _pack((b"SET", key, value, b"PXAT", end_ms)))


def expire_at(key: bytes, end_ms: int) -> Command:
    """Let a key end at `end_ms` (Unix time in ms)."""
    return Command(key_slot(key), _pack((b"PEXPIREAT", key, end_ms)))


def evaluate(script: str, key: bytes, *arguments: int | str) -> Command:
    """Run a Lua script on one key, atomically."""
    return Command(key_slot(key), _pack((b"EVAL", script, 1, key, *arguments)))


ASKING = _pack((b"ASKING",))
PING = _pack((b"PING",))
