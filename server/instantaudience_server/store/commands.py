"""The commands that the service sends, packed for the wire.

`HSETEX` sets fields and their expiry in one atomic step (https://redis.io/docs/latest/commands/hsetex/): Redis 8.0 or
Valkey 9.0. Without an expiry option it also takes away the expiry that a field had.
"""

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import hiredis

from instantaudience_server.store.keys import SLOTS, key_slot

# hiredis declares a tuple of one argument where it takes any number.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command

# A key that nobody has, to be replaced.
_GAP = b"\0"
_GAP_WITH_LENGTH = b"$1\r\n\0"
LAST_SLOT = SLOTS - 1


SCRIPT_HEAD = "#!lua"
"""A script without flags: it may write, and touches no keys but those that it was given."""

Command = tuple[int, bytes]
"""One command on one key: the key's slot, and the bytes for the wire."""


def set_values(keys: Sequence[bytes], end_ms: int, values: Mapping[int, int]) -> list[Command]:
    """Set the same memberships (segment ID → value) of users; they end at `end_ms` (Unix time in ms), 0: never."""
    expiry = (b"PXAT", end_ms) if end_ms else ()
    return _for_each(keys, b"HSETEX", (*expiry, b"FIELDS", len(values), *chain.from_iterable(values.items())))


def remove(keys: Sequence[bytes], segment_ids: Iterable[int]) -> list[Command]:
    """Remove the same memberships of users; those that do not stand are no error."""
    return _for_each(keys, b"HDEL", tuple(segment_ids))


def _for_each(keys: Sequence[bytes], name: bytes, arguments: tuple[bytes | int, ...]) -> list[Command]:
    """A command on each of some users' keys. Packed once, it serves all of them: only the key is spliced in.

    These keys have no braces, so their slot is that of the whole key.
    """
    if len(keys) == 1:
        return [(crc_hqx(keys[0], 0) & LAST_SLOT, _pack((name, keys[0], *arguments)))]
    before, _, after = _pack((name, _GAP, *arguments)).partition(_GAP_WITH_LENGTH)
    starts = {size: b"%b$%d\r\n" % (before, size) for size in set(map(len, keys))}
    return [(crc_hqx(key, 0) & LAST_SLOT, b"".join((starts[len(key)], key, after))) for key in keys]


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


def delete(key: bytes) -> Command:
    """Delete a key; the reply is how many there were. Sent again after a lost answer, that is 0."""
    return (key_slot(key), _pack((b"DEL", key)))


def read_end(key: bytes) -> Command:
    """Read when a key ends: Unix time in ms, -1 for never, -2 where there is no key."""
    return (key_slot(key), _pack((b"PEXPIRETIME", key)))


def expire_at(key: bytes, end_ms: int) -> Command:
    """Let a key end at `end_ms` (Unix time in ms)."""
    return (key_slot(key), _pack((b"PEXPIREAT", key, end_ms)))


def get_fields(key: bytes, fields: Iterable[int | str]) -> Command:
    """Read fields of a hash; the reply has None for those that are not there."""
    return (key_slot(key), _pack((b"HMGET", key, *fields)))


def increment_field(key: bytes, field: str) -> Command:
    """Add one to a field of a hash; the reply is the sum. Sent again after a lost answer, it adds another one."""
    return (key_slot(key), _pack((b"HINCRBY", key, field, 1)))


def scan_hash(key: bytes, cursor: bytes, count: int) -> Command:
    """Read about `count` fields of a hash and their values; the reply is the next cursor and a flat list."""
    return (key_slot(key), _pack((b"HSCAN", key, cursor, b"COUNT", count)))


def read_stream(key: bytes, first: bytes, count: int) -> Command:
    """Read the entries of a stream from an ID on (`-`: from the first), at most `count`."""
    return (key_slot(key), _pack((b"XRANGE", key, first, b"+", b"COUNT", count)))


def evaluate(script: str, script_keys: Sequence[bytes], *arguments: int | str | bytes) -> Command:
    """Run a Lua script that writes on keys of one slot, atomically.

    Its first line makes a node refuse it as a whole where it takes no writes. Without, one that answers reads while the
    cluster is down begins it, and stops at its first write (https://redis.io/docs/latest/develop/programmability/).
    """
    text = f"{SCRIPT_HEAD}\n{script}"
    return (key_slot(script_keys[0]), _pack((b"EVAL", text, len(script_keys), *script_keys, *arguments)))


ASKING = _pack((b"ASKING",))
PING = _pack((b"PING",))
