"""The commands that the service sends, encoded for the wire.

`HSETEX` sets fields and their expiry in one atomic step (https://redis.io/docs/latest/commands/hsetex/); it needs Redis
8.0 or Valkey 9.0. Without an expiry option, it also removes the expiry that a field had.
"""

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import hiredis

from instantaudience_server.store import lua
from instantaudience_server.store.interfaces.groups import Node, indexes_by
from instantaudience_server.store.keys import SLOTS, key_slot
from instantaudience_server.store.native_keys import are_native

if TYPE_CHECKING:
    from instantaudience_native import SpreadCommands

# hiredis annotates a tuple of one argument, but takes any number.
pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
"""Encodes the words of a command."""

# A placeholder for the key.
_GAP = b"\0"
_GAP_WITH_LENGTH = b"$1\r\n\0"
LAST_SLOT = SLOTS - 1

_SET = b"HSETEX"
SET_REPLY = b":1\r\n"
"""The reply to an HSETEX without a condition that was carried out."""
NO_END, GONE = -1, -2
"""What PEXPIRETIME replies about a key without an expiry, and about one that does not exist; likewise HPEXPIRETIME
about fields (https://redis.io/docs/latest/commands/hpexpiretime/)."""


SCRIPT_HEAD = "#!lua"
"""The first line of a script. Without flags, the script may write; it touches no keys but those that it is given."""
NO_WRITES, ALLOW_OOM = " flags=no-writes", " flags=allow-oom"
"""Flags of a script that only reads, and of one that may write past `maxmemory`, because it frees memory, or writes
little."""

_GO_ON = f"""{lua.SCAN}
return scan(function(from) return redis.call('HSCAN', KEYS[1], from, 'COUNT', ARGV[2]) end, ARGV[1])
"""

Command = tuple[int, bytes]
"""A command: the slot of its key or keys, and its encoded bytes."""

Words = tuple[bytes, tuple[bytes | int, ...]]
"""A command without its key: its name, and the words that follow the key."""


def setting(end_ms: int, values: Mapping[int, int]) -> Words:
    """Set a user's memberships (segment ID → value); they end at `end_ms` (Unix time in ms), 0: never."""
    expiry = (b"PXAT", end_ms) if end_ms else ()
    return (_SET, (*expiry, b"FIELDS", len(values), *chain.from_iterable(values.items())))


def removing(segment_ids: Iterable[int]) -> Words:
    """Remove a user's memberships; those that do not exist are no error."""
    return (b"HDEL", tuple(segment_ids))


def on_key(key: bytes, words: Words) -> Command:
    """Encode a command on a user's key, which has no braces: its slot is that of the whole key."""
    name, arguments = words
    return (crc_hqx(key, 0) & LAST_SLOT, pack((name, key, *arguments)))


class Spread:
    """The same command on each of many users' keys, all of one length (an `interfaces.groups.Group`). The command is
    encoded once; the keys are spliced in.

    These keys have no braces, so their slot is that of the whole key.
    """

    __slots__ = ("_after", "_before", "keys", "usual_reply")

    def __init__(self, keys: Sequence[bytes], before: bytes, after: bytes, usual_reply: bytes) -> None:
        self.keys = keys
        self._before = before
        self._after = after
        self.usual_reply = usual_reply

    @property
    def size_bytes(self) -> int:
        """The size of all commands, encoded."""
        return len(self.keys) * (len(self._before) + len(self.keys[0]) + len(self._after))

    def __len__(self) -> int:
        return len(self.keys)

    def by_node(self, nodes: list[Node]) -> dict[Node, list[int]]:
        """See `Group`."""
        return indexes_by([nodes[crc_hqx(key, 0) & LAST_SLOT] for key in self.keys])

    def slot(self, index: int) -> int:
        """The slot of a command."""
        return crc_hqx(self.keys[index], 0) & LAST_SLOT

    def packed(self, indexes: Sequence[int]) -> bytes:
        """The encoded commands. The bytes between two keys are always the same, so this is one join."""
        keys = itemgetter(*indexes)(self.keys) if len(indexes) > 1 else (self.keys[indexes[0]],)
        return b"".join((self._before, (self._after + self._before).join(keys), self._after))

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Drop replies: other than errors, they say nothing of interest."""


def _parts(words: tuple[bytes | int, ...]) -> bytes:
    """Words of a command, encoded without the array header (the number of words)."""
    return pack(words).partition(b"\r\n")[2]


_known_parts = lru_cache(maxsize=1000)(_parts)


def on_keys(keys: Sequence[bytes], words: Words) -> "Sequence[Spread | SpreadCommands]":
    """The same command on each of some users' keys, as groups of keys of one length."""
    name, arguments = words
    # The encoded fields and values are cached apart from the end: campaigns set the same ones with ever new ends.
    end = 2 if arguments[:1] == (b"PXAT",) else 0
    before, _, after = _parts((name, _GAP, *arguments[:end])).partition(_GAP_WITH_LENGTH)
    before, after = b"*%d\r\n%b" % (2 + len(arguments), before), after + _known_parts(arguments[end:])
    usual_reply = SET_REPLY if name == _SET else b""
    if are_native(keys):
        return [keys.spread(before, after, usual_reply)]
    sizes = set(map(len, keys))
    return [
        Spread(
            keys if len(sizes) == 1 else [key for key in keys if len(key) == size],
            b"%b$%d\r\n" % (before, size),
            after,
            usual_reply,
        )
        for size in sizes
    ]


def read_ends(key: bytes, segment_ids: Sequence[int]) -> Command:
    """Read when memberships end: a list of Unix times in ms, `NO_END` or `GONE`."""
    return (key_slot(key), pack((b"HPEXPIRETIME", key, b"FIELDS", len(segment_ids), *segment_ids)))


def get(key: bytes) -> Command:
    """Read a string; the reply is None where it does not exist."""
    return (key_slot(key), pack((b"GET", key)))


def set_string_until(key: bytes, value: bytes, end_ms: int) -> Command:
    """Set a string that ends at `end_ms` (Unix time in ms)."""
    return (key_slot(key), pack((b"SET", key, value, b"PXAT", end_ms)))


def end_of_string(key: bytes, most_bytes: int) -> Command:
    """Read the last bytes of a string, at most `most_bytes`; the reply is empty where it does not exist."""
    return (key_slot(key), pack((b"GETRANGE", key, -most_bytes, -1)))


def delete(key: bytes) -> Command:
    """Delete a key; the reply is 1 if it existed, else 0 (also when it is sent again after a lost answer)."""
    return (key_slot(key), pack((b"DEL", key)))


def read_end(key: bytes) -> Command:
    """Read when a key ends: Unix time in ms, `NO_END` or `GONE`."""
    return (key_slot(key), pack((b"PEXPIRETIME", key)))


def expire_at(key: bytes, end_ms: int) -> Command:
    """Let a key expire at `end_ms` (Unix time in ms)."""
    return (key_slot(key), pack((b"PEXPIREAT", key, end_ms)))


def prolong(key: bytes, end_ms: int) -> Command:
    """Let a key expire at `end_ms` (Unix time in ms), unless it expires later."""
    return (key_slot(key), pack((b"PEXPIREAT", key, end_ms, b"GT")))


def get_fields(key: bytes, fields: Iterable[int | str | bytes]) -> Command:
    """Read fields of a hash; the reply has None for those that do not exist."""
    return (key_slot(key), pack((b"HMGET", key, *fields)))


def read_hash(key: bytes) -> Command:
    """Read a small hash; the reply is a flat list of fields and values."""
    return (key_slot(key), pack((b"HGETALL", key)))


def field_names(key: bytes) -> Command:
    """Read the names of the fields of a small hash."""
    return (key_slot(key), pack((b"HKEYS", key)))


def set_field_until(key: bytes, field: int, end_ms: int) -> Command:
    """Set a field of a hash to 1; it ends at `end_ms` (Unix time in ms), 0: never."""
    expiry = (b"PXAT", end_ms) if end_ms else ()
    return (key_slot(key), pack((_SET, key, *expiry, b"FIELDS", 1, field, 1)))


def remove_fields(key: bytes, fields: Iterable[int]) -> Command:
    """Remove fields of a hash; the reply is how many of them existed."""
    return (key_slot(key), pack((b"HDEL", key, *fields)))


def remove_from_sorted(key: bytes, member: str) -> Command:
    """Remove a member of a sorted set; the reply is 1 if it existed, else 0."""
    return (key_slot(key), pack((b"ZREM", key, member)))


def increment_field(key: bytes, field: str) -> Command:
    """Add 1 to a field of a hash; the reply is the sum. Not idempotent: sent again after a lost answer, it adds another
    1."""
    return (key_slot(key), pack((b"HINCRBY", key, field, 1)))


def scan_hash(key: bytes, cursor: bytes, count: int) -> Command:
    """Read about `count` fields of a hash and their values, from a cursor on (b"0": from the beginning).

    The reply is the next cursor (b"0" after the last part) and the part, a flat list. Each field that exists during the
    whole scan is in at least one part (https://redis.io/docs/latest/commands/scan/, "Scan guarantees"), even when
    another node answers from some part on.
    """
    if cursor == b"0":  # most hashes have only one part, which costs less without a script
        return (key_slot(key), pack((b"HSCAN", key, cursor, b"COUNT", count)))
    return evaluate(_GO_ON, [key], cursor, count, flags=NO_WRITES)


def add_distinct(key: bytes, count: int, numbers: bytes) -> Command:
    """Add `count` numbers to a HyperLogLog; `numbers` are encoded (see `sizes.hyperloglog.pack`)."""
    return (key_slot(key), b"*%d\r\n$5\r\nPFADD\r\n$%d\r\n%b\r\n%b" % (2 + count, len(key), key, numbers))


def count_distinct(keys: Sequence[bytes]) -> Command:
    """Estimate how many distinct numbers were added to any of some HyperLogLogs, which are in one slot."""
    return (key_slot(keys[0]), pack((b"PFCOUNT", *keys)))


def read_stream(key: bytes, first: bytes, count: int) -> Command:
    """Read the entries of a stream from an ID on (`-`: from the first), at most `count`."""
    return (key_slot(key), pack((b"XRANGE", key, first, b"+", b"COUNT", count)))


def evaluate(script: str, script_keys: Sequence[bytes], *arguments: int | str | bytes, flags: str = "") -> Command:
    """Run a Lua script on keys of one slot, atomically; without flags, it may write.

    The script's first line (`SCRIPT_HEAD`) makes a node that takes no writes refuse it before it starts. Otherwise a
    node that answers reads while the cluster is down would start it, and abort at its first write
    (https://redis.io/docs/latest/develop/programmability/).
    """
    text = _text(script, flags)
    return (key_slot(script_keys[0]), pack((b"EVAL", text, len(script_keys), *script_keys, *arguments)))


@lru_cache(maxsize=100)
def _text(script: str, flags: str) -> bytes:
    return f"{SCRIPT_HEAD}{flags}\n{script}".encode()


def wait_for_replicas(replicas: int, wait_ms: int) -> bytes:
    """Wait until `replicas` replicas have the connection's writes, at most `wait_ms`; the reply is how many have."""
    return pack((b"WAIT", replicas, wait_ms))


def wait_for_disks(replicas: int, wait_ms: int) -> bytes:
    """As `wait_for_replicas`, for the disks of the primary and of `replicas` replicas; the reply is a list of how many
    primaries' (0 or 1) and replicas' disks have the writes."""
    return pack((b"WAITAOF", 1, replicas, wait_ms))


ASKING = pack((b"ASKING",))
