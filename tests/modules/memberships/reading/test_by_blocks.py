"""What the extension reads out of requests, Python would read alike (docs/adr/0044-requests-read-natively.md)."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from instantaudience_server.memberships.reading import by_blocks, requests
from instantaudience_server.memberships.reading.identity import encoded_platform_keys
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.store.cluster import commands
from instantaudience_server.transport.hosts.native import missing
from support.cluster.users import native_keys
from support.parts.readings import piece

if reason := missing():
    pytest.skip(f"the native extension is not there: {reason}", allow_module_level=True)

from instantaudience_native import different_users, users_together

LARGEST = 9_999_999_999_999_999_999
RESTS = (b"", b"\x12\x02\x08\x05", b"\x12\x04\x08\x05\x10\x01", b"\x0a\x011")
user_ids = st.integers(1, 9) | st.integers(1, LARGEST)
regular = st.builds(lambda user_id, rest: piece(1, b"%d" % user_id) + rest, user_ids, st.sampled_from(RESTS))
odd = st.sampled_from(
    (
        b"",
        b"\x0a",
        b"\x0a\x00",
        b"\x0a\x05",
        b"\x0a\x8101",
        b"\x12\x00",
        b"\x0a\x01x",
        b"\x0a\x0207",
        piece(1, b"1" * 20),
    )
)
"""Users without an ID, with one that is cut off, or that is no decimal of at most 19 digits."""
some_users = st.lists(regular, max_size=6) | st.lists(regular | odd, max_size=4)


def encoded(users: Sequence[bytes]) -> bytes:
    return b"".join(piece(1, user) for user in users)


@given(sent=st.lists(st.lists(regular, max_size=6), max_size=4) | st.lists(some_users, max_size=4))
def test_users_are_found_by_their_blocks(sent: list[list[bytes]]) -> None:
    read = [ApplyRequest.FromString(encoded(users)).users for users in sent]
    assert [list(users) for users in read] == sent
    assert [(users[1:], users[1:3]) for users in read] == [(users[1:], users[1:3]) for users in sent]
    found, expected = users_together(read), by_blocks._ByBlocks(sent)
    if found is None:
        assert expected.keys is None
        return
    assert expected.keys is not None
    assert [list(keys) for keys in found.keys] == expected.keys
    assert (found.rests, found.sizes) == (expected.rests, expected.sizes)
    valid = list(range(3, 3 + len(found.rests)))
    assert found.segments(valid) == expected.segments(valid)
    assert set(found.key_set) == expected.key_set


@given(
    pieces=st.lists(
        regular.map(lambda user: piece(1, user))
        | st.sampled_from(
            (b"\x10\x01", b"\x10\x00", b"\x18\x01", b"\x18\x00", b"\x20\x02", b"\x20\x81\x01", b"\x78\x05")
        )
        | st.sampled_from((b"\x78\x05", b"\x7a\x021", b"\x79", b"\x08\x01", b"\x8a\x00\x00", b"\x7b", b"\x00", b"\xff"))
        | st.binary(max_size=3),
        max_size=5,
    )
)
@example(pieces=[b"\x0a\x83\x80\x80\x80\x00\x0a\x017"])
@example(pieces=[b"\x0a\x83\x80\x80\x80\x80\x00\x0a\x017"])
@example(pieces=[b"\x7a\x81\x80\x80\x80\x80\x80\x80\x80\x80\x007"])
def test_requests_say_the_same(pieces: list[bytes]) -> None:
    """Whatever fields they have, in any order, whole or not, and however many bytes their lengths take."""
    message = b"".join(pieces)

    def read() -> object:
        try:
            found = ApplyRequest.FromString(message)
        except Exception as error:
            return type(error)
        return list(found.users), found.size_bytes, found.validate_only, found.warning_form

    natively = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "encoded_users", lambda _: None)
        assert read() == natively


KEYS = [b"7", b"42", b"1234567890123456789", *(b"%d" % user_id for user_id in range(10**15, 10**15 + 60))]


@pytest.fixture
def keys() -> Sequence[bytes]:
    return native_keys([b"m:p:" + user_id for user_id in KEYS])


@pytest.mark.parametrize("words", [commands.setting(1_700_000_000_000, {5: 1, 6: -2}), commands.removing([5, 6])])
def test_commands_are_packed_alike(keys: Sequence[bytes], words: commands.Words) -> None:
    (spread,) = commands.on_keys(keys, words)
    nodes = [number * 3 // commands.LAST_SLOT for number in range(commands.LAST_SLOT + 1)]
    by_node = spread.by_node(nodes)
    assert sorted(index for indexes in by_node.values() for index in indexes) == list(range(len(keys)))
    size = 0
    for node, indexes in by_node.items():
        expected = [commands.on_key(keys[index], words) for index in indexes]
        assert [spread.slot(index) for index in indexes] == [slot for slot, _ in expected]
        assert {nodes[slot] for slot, _ in expected} == {node}
        packed = spread.packed(indexes)
        assert packed == b"".join(command for _, command in expected)
        size += len(packed)
    assert size <= spread.size_bytes <= size + 2 * len(keys)
    with pytest.raises(IndexError):
        spread.packed([len(keys)])


def test_many_different_blocks_are_found_again() -> None:
    sent = [
        [piece(1, b"%d" % (20 * turn + number)) + b"\x78" + bytes([number]) for number in range(20)] for turn in (1, 2)
    ]
    found = users_together([ApplyRequest.FromString(encoded(users)).users for users in sent])
    assert found is not None
    assert found.rests == [b"\x78" + bytes([number]) for number in range(20)]
    assert found.sizes == [2] * 20
    assert found.segments(list(range(20))) == [190, 190]


def test_different_users_are_those_from_one_on(subtests: pytest.Subtests) -> None:
    for start in [0, 2, 5, 9]:
        with subtests.test(start=start):
            users = [piece(1, b"%d" % user_id) for user_id in (1, 2, 2, 3, 1, 4, 4)]
            found = different_users(ApplyRequest.FromString(encoded(users)).users, start)
            assert found is not None
            assert sorted(found) == sorted(set(users[start:]))


def test_sets_of_users_meet(keys: Sequence[bytes]) -> None:
    def key_set(*user_ids: bytes) -> by_blocks.KeySet:
        found = users_together([ApplyRequest.FromString(encoded([piece(1, each) for each in user_ids])).users])
        assert found is not None
        return found.key_set

    many = key_set(*KEYS)
    assert many.isdisjoint(key_set(b"8", b"9"))
    assert many.isdisjoint(())
    assert many.isdisjoint([b"m:p:8", b"m:i:7", b"x:1:7"])
    some = key_set(*(b"%d" % user_id for user_id in range(100, 130)), KEYS[-1])
    assert not many.isdisjoint(some)
    assert not some.isdisjoint(many)
    assert not many.isdisjoint(encoded_platform_keys([b"8", b"7"]) or ())
    assert not frozenset(keys).isdisjoint(key_set(b"7"))
