"""Commands are packed exactly as hiredis packs them, and go to the slot of their key."""

from typing import Any

import pytest
from hiredis import pack_command
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.interfaces.groups import indexes_by
from instantaudience_server.store.keys import SLOTS, key_slot

KEY = b"m:p:18446744073709551615"
KEYS = [b"m:p:1", KEY, b"m:i:1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13"]
END = 1_700_000_000_000
int32s = st.integers(-(2**31), 2**31 - 1)
values = st.dictionaries(int32s, int32s, min_size=1, max_size=100)
user_keys = st.lists(st.sampled_from(KEYS) | st.from_regex(r"m:p:[1-9][0-9]{0,18}", fullmatch=True).map(str.encode))


def expected(key: bytes, *words: Any) -> tuple[int, bytes]:
    return key_slot(key), pack_command(words)  # type: ignore[arg-type]


def all_of(spreads: list[commands.Spread]) -> list[tuple[int, bytes]]:
    """Every command by itself; together they are the same, and as large as they say."""
    found = []
    for spread in spreads:
        each = [(spread.slot(index), spread.packed([index])) for index in range(len(spread))]
        assert spread.by_node(list(range(SLOTS))) == indexes_by([slot for slot, _ in each])
        assert spread.packed(range(len(spread))) == b"".join(packed for _, packed in each)
        assert spread.size_bytes == sum(len(packed) for _, packed in each)
        found += each
    return found


@given(keys=user_keys, end=st.integers(0, 2**46), values=values)
def test_setting_memberships(keys: list[bytes], end: int, values: dict[int, int]) -> None:
    fields = [word for pair in values.items() for word in pair]
    expiry = ["PXAT", end] if end else []
    words = commands.setting(end, values)
    wanted = [expected(key, "HSETEX", key, *expiry, "FIELDS", len(values), *fields) for key in keys]
    assert [commands.on_key(key, words) for key in keys] == wanted
    assert sorted(all_of(commands.on_keys(keys, words))) == sorted(wanted)


@given(keys=user_keys, segment_ids=st.lists(int32s, min_size=1))
def test_removing_memberships(keys: list[bytes], segment_ids: list[int]) -> None:
    words = commands.removing(segment_ids)
    wanted = [expected(key, "HDEL", key, *segment_ids) for key in keys]
    assert [commands.on_key(key, words) for key in keys] == wanted
    assert sorted(all_of(commands.on_keys(keys, words))) == sorted(wanted)


EXTERNAL = b"x:958:a{b}\r\n$1"

OTHERS = [
    (commands.read_ends(KEY, [1, 20002]), (KEY, "HPEXPIRETIME", KEY, "FIELDS", 2, 1, 20002)),
    (commands.get(EXTERNAL), (EXTERNAL, "GET", EXTERNAL)),
    (commands.set_string_until(b"t:1", b"1 2", END), (b"t:1", "SET", b"t:1", b"1 2", "PXAT", END)),
    (commands.delete(EXTERNAL), (EXTERNAL, "DEL", EXTERNAL)),
    (commands.read_end(EXTERNAL), (EXTERNAL, "PEXPIRETIME", EXTERNAL)),
    (commands.expire_at(b"t:1", END), (b"t:1", "PEXPIREAT", b"t:1", END)),
    (commands.evaluate("return 1", [b"a:1"], 5, "x"), (b"a:1", "EVAL", "#!lua\nreturn 1", 1, b"a:1", 5, "x")),
    (
        commands.evaluate("return 1", [b"{a}:1", b"{a}:2"], 5),
        (b"{a}:1", "EVAL", "#!lua\nreturn 1", 2, b"{a}:1", b"{a}:2", 5),
    ),
    (commands.get_fields(b"c:1", [1, 2]), (b"c:1", "HMGET", b"c:1", 1, 2)),
    (commands.increment_field(b"c:1", "user"), (b"c:1", "HINCRBY", b"c:1", "user", 1)),
    (commands.scan_hash(b"c:1", b"0", 50), (b"c:1", "HSCAN", b"c:1", b"0", "COUNT", 50)),
    (commands.add_distinct(b"{h}:1", 2, b"$3\r\nabc\r\n$0\r\n\r\n"), (b"{h}:1", "PFADD", b"{h}:1", "abc", "")),
    (commands.count_distinct([b"{h}:1", b"{h}:2"]), (b"{h}:1", "PFCOUNT", b"{h}:1", b"{h}:2")),
    (commands.read_stream(b"c:1", b"8-9", 50), (b"c:1", "XRANGE", b"c:1", "8-9", "+", "COUNT", 50)),
]


def test_other_commands(subtests: pytest.Subtests) -> None:
    for command, words in OTHERS:
        with subtests.test(command=command, words=words):
            assert command == expected(*words)
