"""The commands that the service sends, packed for the wire.

`HSETEX` sets fields and their expiry in one atomic step (https://redis.io/docs/latest/commands/hsetex/): Redis 8.0 or
Valkey 9.0. Without an expiry option it also takes away the expiry that a field had.
"""

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import hiredis

from instantaudience_server.store.keys import SLOTS, key_slot

# hiredis declares a tuple of one argument where it takes any number.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command

_GAP = b"\0"
_PACKED_GAP = b"$1\r\n\0\r\n"
LAST_SLOT = SLOTS - 1


Command = tuple[int, bytes]
"""One command on one key: the key's slot, and the bytes for the wire."""


class Frame(NamedTuple):
    """A packed command with a gap for its key: what stands before and after."""

    before: bytes
    after: bytes

    def around(self, keys: Iterable[bytes]) -> list[Command]:
        """The command on users' keys (which have no braces, so that their slot is that of the whole key)."""
        before, after = self
        return [(crc_hqx(key, 0) & LAST_SLOT, b"%b$%d\r\n%b\r\n%b" % (before, len(key), key, after)) for key in keys]


def set_values(end_ms: int, values: Mapping[int, int]) -> Frame:
    """Set memberships (segment ID → value) that end at `end_ms` (Unix time in ms); 0: never."""
    fields = (field for pair in values.items() for field in pair)
    expiry = (b"PXAT", end_ms) if end_ms else ()
    return _frame((b"HSETEX", _GAP, *expiry, b"FIELDS", len(values), *fields))


def remove(segment_ids: Iterable[int]) -> Frame:
    """Remove memberships; those that do not stand are no error."""
    return _frame((b"HDEL", _GAP, *segment_ids))


def _frame(words: tuple[bytes | int, ...]) -> Frame:
    before, _, after = _pack(words).partition(_PACKED_GAP)
    return Frame(before, after)


def read_values(key: bytes) -> Command:
    """Read every membership and its value; `read_ends` says which end when."""
    return (key_slot(key), _pack((b"HGETALL", key)))


def read_ends(key: bytes, segment_ids: Sequence[int]) -> Command:
    """Read when memberships end: a list of Unix times in ms, -1 for never, -2 for one that is gone."""
    return (key_slot(key), _pack((b"HPEXPIRETIME", key, b"FIELDS", len(segment_ids), *segment_ids)))


def get(key: bytes) -> Command:
    """Read a string; the reply is None when there is none."""
    return (key_slot(key), _pack((b"GET", key)))


def set_string_until(key: bytes, value: bytes, end_ms: int) -> Command:
    """Set a string that ends at `end_ms` (Unix time in ms)."""
    return (key_slot(key), _pack((b"SET", key, value, b"PXAT", end_ms)))


def expire_at(key: bytes, end_ms: int) -> Command:
    """Let a key end at `end_ms` (Unix time in ms)."""
    return (key_slot(key), _pack((b"PEXPIREAT", key, end_ms)))


def evaluate(script: str, key: bytes, *arguments: int | str) -> Command:
    """Run a Lua script on one key, atomically."""
    return (key_slot(key), _pack((b"EVAL", script, 1, key, *arguments)))


ASKING = _pack((b"ASKING",))
PING = _pack((b"PING",))
