import pytest
from instantaudience_server.store import keys
from redis.crc import key_slot as slot_as_redis_py_has_it

KEYS = [
    *(
        b"m:p:1",
        b"m:p:18446744073709551615",
        b"m:i:1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13",
        b"t:" + b"0f" * 32,
        b"a:1001",
        b"h:{10001}:2951",
    ),
    *(
        f"x:958:{external}".encode()
        for external in ("a", "{a}", "{}", "{}{a}", "{", "}", "}{", "a{b}c{d}", "{{a}}", "日")
    ),
]


def test_a_slot_is_what_the_cluster_specification_says(subtests: pytest.Subtests) -> None:
    for key in KEYS:
        with subtests.test(key=key):
            assert keys.key_slot(key) == slot_as_redis_py_has_it(key)


def test_known_slots() -> None:
    # CRC16 of "123456789" is 0x31C3 (cluster specification, appendix A).
    assert keys.key_slot(b"123456789") == 0x31C3 % 16384
    assert keys.key_slot(b"x:1:{123456789}") == keys.key_slot(b"123456789")


def test_keys_are_those_of_the_design() -> None:
    assert keys.membership_key(b"p", b"7") == keys.PLATFORM_PREFIX + b"7" == b"m:p:7"
    assert keys.session_key("ab") == b"t:ab"
    assert keys.sign_ins_key(7) == b"a:7"
    assert keys.quota_key(123, "posts") == b"q:{123}:posts"
    assert keys.segment_size_key(10001, 2951) == b"h:{10001}:2951"
    assert keys.external_id_key(958, "é") == "x:958:é".encode()
