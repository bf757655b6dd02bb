"""The commands that the service sends, packed for the wire.

`HSETEX` sets fields and their expiry in one atomic step (https://redis.io/docs/latest/commands/hsetex/): Redis 8.0 or
Valkey 9.0. Without an expiry option it also takes away the expiry that a field had.
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

# hiredis declares a tuple of one argument where it takes any number.
pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
"""The words of a command, for the wire."""

# A key that nobody has, to be replaced.
_GAP = b"\0"
_GAP_WITH_LENGTH = b"$1\r\n\0"
LAST_SLOT = SLOTS - 1

_SET = b"HSETEX"
SET_REPLY = b":1\r\n"
"""What HSETEX replies when it was carried out and has no condition."""
NO_END, GONE = -1, -2
"""What PEXPIRETIME replies about a key without an expiry, and where there is no such key, and HPEXPIRETIME about fields
likewise (https://redis.io/docs/latest/commands/hpexpiretime/)."""


SCRIPT_HEAD = "#!lua"
"""A script without flags: it may write, and touches no keys but those that it was given."""
NO_WRITES, ALLOW_OOM = " flags=no-writes", " flags=allow-oom"
"""A script that only reads; one that may write past `maxmemory`, because it makes room, or what it writes is small and
bounded."""

_GO_ON = f"""{lua.SCAN}
return scan(function(from) return redis.call('HSCAN', KEYS[1], from, 'COUNT', ARGV[2]) end, ARGV[1])
"""

Command = tuple[int, bytes]
"""One command on one key: the key's slot, and the bytes for the wire."""

Words = tuple[bytes, tuple[bytes | int, ...]]
"""A command without its key: its name, and what follows the key."""


def setting(end_ms: int, values: Mapping[int, int]) -> Words:
    """Set a user's memberships (segment ID → value); they end at `end_ms` (Unix time in ms), 0: never."""
    expiry = (b"PXAT", end_ms) if end_ms else ()
    return (_SET, (*expiry, b"FIELDS", len(values), *chain.from_iterable(values.items())))


def removing(segment_ids: Iterable[int]) -> Words:
    """Remove a user's memberships; those that do not stand are no error."""
    return (b"HDEL", tuple(segment_ids))


def on_key(key: bytes, words: Words) -> Command:
    """The command on a user's key."""
    name, arguments = words
    return (crc_hqx(key, 0) & LAST_SLOT, pack((name, key, *arguments)))


class Spread:
    """One command on each of many users' keys, which have one length. Packed once, it serves all of them: only the key
    is spliced in. (It is a `interfaces.groups.Group`.)

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
        """The size of all commands."""
        return len(self.keys) * (len(self._before) + len(self.keys[0]) + len(self._after))

    def __len__(self) -> int:
        return len(self.keys)

    def by_node(self, nodes: list[Node]) -> dict[Node, list[int]]:
        """The indexes of commands, by what a list of `SLOTS` has for their slots."""
        return indexes_by([nodes[crc_hqx(key, 0) & LAST_SLOT] for key in self.keys])

    def slot(self, index: int) -> int:
        """The slot of a command."""
        return crc_hqx(self.keys[index], 0) & LAST_SLOT

    def packed(self, indexes: Sequence[int]) -> bytes:
        """Commands, for the wire: what stands between two keys is the same each time."""
        keys = itemgetter(*indexes)(self.keys) if len(indexes) > 1 else (self.keys[indexes[0]],)
        return b"".join((self._before, (self._after + self._before).join(keys), self._after))

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Let go of replies: that they are no errors is all there is to know."""


def _parts(words: tuple[bytes | int, ...]) -> bytes:
    """Parts of a command, for the wire: without how many it has in all."""
    return pack(words).partition(b"\r\n")[2]


_known_parts = lru_cache(maxsize=1000)(_parts)


def on_keys(keys: Sequence[bytes], words: Words) -> "Sequence[Spread | SpreadCommands]":
    """The same command on each of some users' keys."""
    name, arguments = words
    # Campaigns repeat what they set, for other users and with another end.
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
    """Read a string; the reply is None when there is none."""
    return (key_slot(key), pack((b"GET", key)))


def set_string_until(key: bytes, value: bytes, end_ms: int) -> Command:
    """Set a string that ends at `end_ms` (Unix time in ms)."""
    return (key_slot(key), pack((b"SET", key, value, b"PXAT", end_ms)))


def end_of_string(key: bytes, most_bytes: int) -> Command:
    """The last bytes of a string, at most so many; none where there is no such key."""
    return (key_slot(key), pack((b"GETRANGE", key, -most_bytes, -1)))


def delete(key: bytes) -> Command:
    """Delete a key; the reply is how many there were. Sent again after a lost answer, that is 0."""
    return (key_slot(key), pack((b"DEL", key)))


def read_end(key: bytes) -> Command:
    """Read when a key ends: Unix time in ms, `NO_END` or `GONE`."""
    return (key_slot(key), pack((b"PEXPIRETIME", key)))


def expire_at(key: bytes, end_ms: int) -> Command:
    """Let a key end at `end_ms` (Unix time in ms)."""
    return (key_slot(key), pack((b"PEXPIREAT", key, end_ms)))


def prolong(key: bytes, end_ms: int) -> Command:
    """Let a key end at `end_ms` (Unix time in ms), unless it ends later."""
    return (key_slot(key), pack((b"PEXPIREAT", key, end_ms, b"GT")))


def get_fields(key: bytes, fields: Iterable[int | str | bytes]) -> Command:
    """Read fields of a hash; the reply has None for those that are not there."""
    return (key_slot(key), pack((b"HMGET", key, *fields)))


def read_hash(key: bytes) -> Command:
    """Read a small hash: a flat list of fields and values."""
    return (key_slot(key), pack((b"HGETALL", key)))


def field_names(key: bytes) -> Command:
    """Read the fields of a small hash."""
    return (key_slot(key), pack((b"HKEYS", key)))


def set_field_until(key: bytes, field: int, end_ms: int) -> Command:
    """Set a field of a hash to 1; it ends at `end_ms` (Unix time in ms), 0: never."""
    expiry = (b"PXAT", end_ms) if end_ms else ()
    return (key_slot(key), pack((_SET, key, *expiry, b"FIELDS", 1, field, 1)))


def remove_fields(key: bytes, fields: Iterable[int]) -> Command:
    """Remove fields of a hash; the reply is how many there were."""
    return (key_slot(key), pack((b"HDEL", key, *fields)))


def remove_from_sorted(key: bytes, member: str) -> Command:
    """Remove a member of a sorted set; the reply is how many there were."""
    return (key_slot(key), pack((b"ZREM", key, member)))


def increment_field(key: bytes, field: str) -> Command:
    """Add one to a field of a hash; the reply is the sum. Sent again after a lost answer, it adds another one."""
    return (key_slot(key), pack((b"HINCRBY", key, field, 1)))


def scan_hash(key: bytes, cursor: bytes, count: int) -> Command:
    """Read about `count` fields of a hash and their values, from a cursor on, b"0" at first.

    The reply is the next cursor, b"0" after the last part, and the part, a flat list. What is there all the time is in
    one of the parts at least (https://redis.io/docs/latest/commands/scan/, "Scan guarantees"), whichever nodes answer.
    """
    if cursor == b"0":  # most hashes have one part, which costs less without a script
        return (key_slot(key), pack((b"HSCAN", key, cursor, b"COUNT", count)))
    return evaluate(_GO_ON, [key], cursor, count, flags=NO_WRITES)


def add_distinct(key: bytes, count: int, numbers: bytes) -> Command:
    """Count so many different numbers (see `sizes.hyperloglog.pack`) in a HyperLogLog, beside those of before."""
    return (key_slot(key), b"*%d\r\n$5\r\nPFADD\r\n$%d\r\n%b\r\n%b" % (2 + count, len(key), key, numbers))


def count_distinct(keys: Sequence[bytes]) -> Command:
    """How many different numbers the HyperLogLogs of keys in one slot have counted together, about."""
    return (key_slot(keys[0]), pack((b"PFCOUNT", *keys)))


def read_stream(key: bytes, first: bytes, count: int) -> Command:
    """Read the entries of a stream from an ID on (`-`: from the first), at most `count`."""
    return (key_slot(key), pack((b"XRANGE", key, first, b"+", b"COUNT", count)))


def evaluate(script: str, script_keys: Sequence[bytes], *arguments: int | str | bytes, flags: str = "") -> Command:
    """Run a Lua script on keys of one slot, atomically; without flags, it may write.

    Its first line makes a node refuse it as a whole where it takes no writes. Without, one that answers reads while the
    cluster is down begins it, and stops at its first write (https://redis.io/docs/latest/develop/programmability/).
    """
    text = _text(script, flags)
    return (key_slot(script_keys[0]), pack((b"EVAL", text, len(script_keys), *script_keys, *arguments)))


@lru_cache(maxsize=100)
def _text(script: str, flags: str) -> bytes:
    return f"{SCRIPT_HEAD}{flags}\n{script}".encode()


def wait_for_replicas(replicas: int, wait_ms: int) -> bytes:
    """Wait, for so long at most, until so many replicas have what this connection wrote; the reply is how many have."""
    return pack((b"WAIT", replicas, wait_ms))


def wait_for_disks(replicas: int, wait_ms: int) -> bytes:
    """As `wait_for_replicas`, until it is on the disk of the primary and of so many replicas; the reply is on how many
    of each."""
    return pack((b"WAITAOF", 1, replicas, wait_ms))


ASKING = pack((b"ASKING",))
