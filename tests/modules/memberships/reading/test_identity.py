"""The forms of user IDs (contract, "Domains"), read through whole requests."""

import pytest
from instantaudience_server.memberships.reading import identity
from support.contract.strategies import EXTERNAL_IDS, UUID
from support.parts.readings import read

HEX_40 = "0123456789abcdef0123456789abcdef01234567"
HEX_32 = HEX_40[:32]


def one_user(user_id: str, domain: str | None = None) -> dict:
    return {"rt_segment": [{"user_id": user_id, "domain": domain, "seg_block": [{"seg_id": 10001}]}]}


VALID = [
    (None, "1", ("", "1")),
    (None, "9999999999999999999", ("", "9999999999999999999")),  # 19 digits, each the largest
    (None, "18446744073709551615", ("", "18446744073709551615")),  # 2^64 - 1
    (None, "10000000000000000000", ("", "10000000000000000000")),  # the smallest of 20 digits
    ("", "12345678900987654321", ("", "12345678900987654321")),
    ("idfa", UUID, ("idfa", UUID)),
    ("idfa", UUID.upper(), ("idfa", UUID)),
    ("aaid", UUID, ("aaid", UUID)),
    ("aaid", UUID.title(), ("aaid", UUID)),
    ("sha1udid", HEX_40, ("sha1udid", HEX_40)),
    ("sha1udid", HEX_40.upper(), ("sha1udid", HEX_40)),
    ("openudid", HEX_40, ("openudid", HEX_40)),
    ("openudid", HEX_40.upper(), ("openudid", HEX_40)),
    ("md5udid", HEX_32, ("md5udid", HEX_32)),
    ("md5udid", HEX_32.upper(), ("md5udid", HEX_32)),
]


def test_a_well_formed_id_is_stored_in_lower_case(subtests: pytest.Subtests) -> None:
    for domain, user_id, user in VALID:
        with subtests.test(domain=domain, user_id=user_id, user=user):
            answer = read(one_user(user_id, domain))
            assert answer.messages == []
            assert list(answer.memberships) == [user]


INVALID_IDS = [
    *((None, platform) for platform in ("0", "00", "01", "007", "-1", "+1", "1.0", "1e3", " 1", "1 ", "1\n", "0x1")),
    (None, "18446744073709551616"),  # 2^64
    (None, "99999999999999999999"),  # 20 digits, too large
    (None, "018446744073709551615"),
    (None, "184467440737095516150"),  # 21 digits
    (None, "٣"),  # a digit, but not of ASCII
    (None, "１"),  # noqa: RUF001 - a full-width digit
    (None, "²"),
    (None, "crm-0001"),
    (None, UUID),
    ("", "asdf"),
    *(
        (domain, device)
        for domain in ("idfa", "aaid")
        for device in (
            UUID.replace("-", ""),
            f"{{{UUID}}}",
            UUID[:-1],
            UUID + "0",
            UUID + "\n",
            "g" + UUID[1:],
            UUID.replace("-", "‐"),  # noqa: RUF001 - another hyphen
            "12345678",
            HEX_32,
        )
    ),
    *(
        (domain, device)
        for domain in ("sha1udid", "openudid")
        for device in (HEX_40[:-1], HEX_40 + "0", "g" + HEX_40[1:], HEX_40 + "\n", "٣" + HEX_40[1:], UUID, HEX_32)
    ),
    *(("md5udid", device) for device in (HEX_32[:-1], HEX_32 + "0", "g" + HEX_32[1:], HEX_32 + "\n", UUID, HEX_40)),
]


def test_a_malformed_id_is_refused(subtests: pytest.Subtests) -> None:
    for domain, user_id in INVALID_IDS:
        with subtests.test(domain=domain, user_id=user_id):
            answer = read(one_user(user_id, domain))
            assert answer.messages == [f"Invalid user_id: {user_id}", "No valid rt_segment in request."]
            assert answer.changes == {}


def test_an_unknown_domain_is_refused_whatever_the_id(subtests: pytest.Subtests) -> None:
    for domain in ["sha1mac", "IDFA", "Idfa", "idfa ", "md5", "platform", "p", "i", "null", "0"]:
        with subtests.test(domain=domain):
            for user_id in ("1", UUID, HEX_40, HEX_32, "?"):
                answer = read(one_user(user_id, domain))
                assert answer.messages == [f"Invalid domain: {domain}", "No valid rt_segment in request."]
                assert answer.changes == {}


EXTERNAL_VALID = [
    "x",
    "0",
    "01",
    "crm 1",
    "a:b",
    "{a}b",
    "é",
    "ß" * 256,
    "x" * 255,
    "x" * 256,
    UUID,
    "日本",
    "😀" * 256,
]


def test_an_external_id_is_1_to_256_printable_characters(subtests: pytest.Subtests) -> None:
    for external_id in EXTERNAL_VALID:
        with subtests.test(external_id=external_id):
            request = one_user(external_id)
            assert read(request, "external").messages[:1] == [f"Unknown user_id: {external_id}"]
            mapped = read(request, "external", {(958, external_id.lower()): "77"})
            assert mapped.counts == (1, 1)
            assert mapped.messages == ["Unauthorized segment: 10001"]


def test_any_other_external_id_is_refused(subtests: pytest.Subtests) -> None:
    for external_id in [
        "x" * 257,
        "é" * 257,
        "a\n",
        "\t",
        "\0",
        "a\u200bb",
        "\u00a0",
        "\u2028",
        "\ue000",
        "\x7f",
        "\x85",
    ]:
        with subtests.test(external_id=external_id):
            answer = read(one_user(external_id), "external")
            assert answer.messages == [f"Invalid user_id: {external_id}", "No valid rt_segment in request."]


def test_an_external_id_is_found_whatever_its_case(subtests: pytest.Subtests) -> None:
    for external_id in ["crm-0001", "CRM-0001", "Crm-0001"]:
        with subtests.test(external_id=external_id):
            request = {"rt_segment": [{"user_id": external_id, "seg_block": [{"seg_id": 50001, "value": 2}]}]}
            answer = read(request, "external", EXTERNAL_IDS)
            assert answer.messages == []
            assert list(answer.memberships) == [("", "1")]


def test_a_member_with_external_ids_uses_device_ids_as_they_are() -> None:
    request = {"rt_segment": [{"user_id": UUID, "domain": "idfa", "seg_block": [{"seg_id": 50001}]}]}
    assert list(read(request, "external").memberships) == [("idfa", UUID)]


KEYS = [
    (None, "7", b"m:p:7"),
    ("idfa", UUID.upper(), b"m:i:" + UUID.encode()),
    ("aaid", UUID, b"m:a:" + UUID.encode()),
    ("sha1udid", HEX_40, b"m:s:" + HEX_40.encode()),
    ("openudid", HEX_40.upper(), b"m:o:" + HEX_40.encode()),
    ("md5udid", HEX_32, b"m:m:" + HEX_32.encode()),
]


def test_keys_are_those_of_the_design(subtests: pytest.Subtests) -> None:
    """The same 40 digits are two users in two domains."""
    for domain, user_id, key in KEYS:
        with subtests.test(domain=domain, user_id=user_id, key=key):
            assert list(read(one_user(user_id, domain)).changes) == [key]


def test_many_platform_ids_at_once(subtests: pytest.Subtests) -> None:
    """They are valid together only if each is valid alone; those of 20 digits are left to the look at each."""
    for user_ids in [
        *([b"1"], [b"1", b"18446744073709551"], [b"1", b"2,3"], [b"1,2"], [b"0"], [b"1", b""], [b"1", b"x"]),
        *([b"", b""], [b"12", b"34"], [b"12", b"01"], [b"10", b"2x"], [b"1" * 19, b"9" * 19], [b"1" * 20]),
    ]:
        with subtests.test(user_ids=user_ids):
            alone = [identity.encoded_platform_key(user_id) for user_id in user_ids]
            expected = None if None in alone or any(len(user_id) == 20 for user_id in user_ids) else alone
            assert identity.encoded_platform_keys(user_ids) == expected
