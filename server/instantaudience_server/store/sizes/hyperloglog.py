"""Computes what `PFADD` does, for thousands of users at once.

A HyperLogLog of Redis and Valkey has 16,384 registers. An element's hash selects a register and a rank: one more than
the number of trailing zeros in the rest of the hash. The register is raised to the rank if it is lower
(https://redis.io/docs/latest/commands/pfadd/). A worker that knows the registers need not send elements that raise
none. Elements are users' numbers, of 8 bytes each.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

REGISTERS = 16_384
_REGISTER_BITS = 14
_RANK_BITS = 64 - _REGISTER_BITS

Numbers = NDArray[np.uint64]
"""Users' numbers, 64 bits each (`numbers_of`)."""
Indexes = NDArray[np.intp]
"""Indexes of registers."""
Ranks = NDArray[np.uint8]
"""Ranks of elements, 1 to 51."""

Packed = NDArray[np.void]
"""Numbers as encoded arguments of a command."""

LONGEST_KEY_BYTES = 48
"""The length of the longest key of a user (`identity.DOMAINS`)."""
_WORD = np.dtype("<u8")
_WORD_BYTES = 8

# MurmurHash64A with the seed of PFADD (`hllPatLen` in hyperloglog.c).
_SEED = 0xADC83B19
_FACTOR = 0xC6A4A7935BD1E995
_SHIFT = np.uint64(47)

_ARGUMENT = np.dtype([("head", "S4"), ("number", _WORD), ("end", "S2")])

_FLOAT_FRACTION_BITS = np.uint64(52)
_FLOAT_EXPONENT_BIAS = 1023


def numbers_of(user_keys: Sequence[bytes]) -> Numbers:
    """Users' numbers: 64-bit hashes of their keys. Two users with the same number count as one, which does not matter:
    among 1e9 users, the probability of any such pair is about 1/37.
    """
    sizes = set(map(len, user_keys))
    if len(sizes) == 1:
        # Copying all keys at once is faster than one by one.
        (size,) = sizes
        padded = np.zeros((len(user_keys), LONGEST_KEY_BYTES), np.uint8)
        padded[:, :size] = np.frombuffer(b"".join(user_keys), np.uint8).reshape(-1, size)
    else:
        padded = np.array(user_keys, dtype=f"S{LONGEST_KEY_BYTES}").view(np.uint8).reshape(-1, LONGEST_KEY_BYTES)
    return _murmur(padded.view(_WORD))


def places_of(numbers: Numbers) -> tuple[Indexes, Ranks]:
    """The register and the rank of each number in `PFADD`."""
    hashes = _murmur(numbers.reshape(-1, 1))
    indexes = (hashes & np.uint64(REGISTERS - 1)).astype(np.intp)
    rest = (hashes >> np.uint64(_REGISTER_BITS)) | np.uint64(1 << _RANK_BITS)
    # The lowest set bit alone is a power of two; as a float, its exponent is the number of trailing zeros.
    lowest = (rest & -rest).astype(np.float64).view(np.uint64)
    ranks = (lowest >> _FLOAT_FRACTION_BITS) - np.uint64(_FLOAT_EXPONENT_BIAS - 1)
    return indexes, ranks.astype(np.uint8)


def pack(numbers: Numbers) -> Packed:
    """Encode numbers as arguments of `PFADD`. The result can be sliced by numbers."""
    packed = np.empty(len(numbers), _ARGUMENT)
    packed["head"], packed["number"], packed["end"] = b"$8\r\n", numbers, b"\r\n"
    return packed


def _murmur(rows: Numbers) -> Numbers:
    """MurmurHash64A of each row's words."""
    length = rows.shape[1] * _WORD_BYTES
    hashes = np.full(len(rows), _SEED ^ (length * _FACTOR % 2**64), np.uint64)
    factor = np.uint64(_FACTOR)
    for column in rows.T:
        words = column * factor
        words ^= words >> _SHIFT
        words *= factor
        hashes ^= words
        hashes *= factor
    hashes ^= hashes >> _SHIFT
    hashes *= factor
    hashes ^= hashes >> _SHIFT
    return hashes
