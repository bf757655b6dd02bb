"""Which register a user raises. tests/modules/store compares it with what the servers do."""

import numpy as np
import pytest
from hiredis import pack_command
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.memberships.reading.identity import DOMAINS, device_key, platform_key
from instantaudience_server.store.cluster.commands import add_distinct
from instantaudience_server.store.keys import key_slot
from instantaudience_server.store.sizes.hyperloglog import LONGEST_KEY_BYTES, REGISTERS, numbers_of, pack, places_of

LONGEST_IDS = {
    "idfa": "1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13",
    "aaid": "1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13",
    "sha1udid": "0f" * 20,
    "openudid": "0f" * 20,
    "md5udid": "0f" * 16,
}
PLATFORM = platform_key(str(2**64 - 1))


def test_no_key_is_too_long(subtests: pytest.Subtests) -> None:
    """A longer one would be cut, and users become one."""
    for domain in DOMAINS:
        with subtests.test(domain=domain):
            key = device_key(DOMAINS[domain], LONGEST_IDS[domain])
            assert key is not None
            assert len(key) <= LONGEST_KEY_BYTES


NUMBERS = {
    b"m:p:1": 0x7391A29880A192B7,
    b"m:p:18446744073709551615": 0xA9B110660B96D317,
    b"m:i:1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13": 0x86B93DA4FEF6D91A,
}


def test_numbers_stay_what_they_are(subtests: pytest.Subtests) -> None:
    """With others, everybody who is in the cluster would count once more."""
    for key in NUMBERS:
        with subtests.test(key=key):
            assert numbers_of([key]).tolist() == [NUMBERS[key]]


def test_users_have_numbers_of_their_own_whatever_is_asked_beside_them() -> None:
    keys = [b"m:p:%d" % user_id for user_id in range(1, 20_000)]
    keys += [b"m:%c:%040x" % (letter, number) for letter in b"so" for number in range(20_000)]
    numbers = numbers_of(keys)
    assert len(np.unique(numbers)) == len(keys)
    assert numbers_of(keys[::-1]).tolist() == numbers.tolist()[::-1]
    assert numbers_of(keys[:1]).tolist() == numbers[:1].tolist()


def murmur(number: int) -> int:
    """MurmurHash64A of a number's 8 bytes, with PFADD's seed, step by step."""
    factor, rest = 0xC6A4A7935BD1E995, 2**64 - 1
    hashed = 0xADC83B19 ^ (8 * factor & rest)
    word = number * factor & rest
    word ^= word >> 47
    hashed = (hashed ^ (word * factor & rest)) * factor & rest
    hashed = (hashed ^ hashed >> 47) * factor & rest
    return hashed ^ hashed >> 47


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_places(numbers: list[int]) -> None:
    indexes, ranks = places_of(np.array(numbers, np.uint64))
    for number, index, rank in zip(numbers, indexes.tolist(), ranks.tolist(), strict=True):
        rest = murmur(number) // REGISTERS | 1 << 50
        assert index == murmur(number) % REGISTERS
        assert rank == len(f"{rest:b}") - len(f"{rest:b}".rstrip("0")) + 1


def test_ranks_halve() -> None:
    """As many users as it takes for ranks of all kinds: each is half as frequent as the one before."""
    _, ranks = places_of(np.arange(2**20, dtype=np.uint64))
    counts = np.bincount(ranks)
    assert counts[0] == 0
    for rank in range(1, 8):
        assert counts[rank] == pytest.approx(2**20 / 2**rank, rel=0.05)


@given(numbers=st.lists(st.integers(0, 2**64 - 1), min_size=1), cut=st.integers(0, 9))
def test_packing(numbers: list[int], cut: int) -> None:
    """As hiredis packs them, also a part of what was packed."""
    packed = pack(np.array(numbers, np.uint64))
    for first, after in ((0, len(numbers)), (cut, 2 * cut)):
        elements = [number.to_bytes(8, "little") for number in numbers[first:after]]
        command = add_distinct(b"h:1", len(elements), packed[first:after].tobytes())
        assert command == (key_slot(b"h:1"), pack_command(("PFADD", b"h:1", *elements)))  # type: ignore[arg-type]
