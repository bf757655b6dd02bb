"""What members, users and segments must be like (catalog.proto)."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.original_fields import MOST_LEVELS
from instantaudience_server.catalog.records import Object
from instantaudience_server.catalog.rules import LIMITS, RULES, check, check_password, complete, references, tidy
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.store.interfaces.catalog import Kind

MOST = 2**31 - 1
UNCHECKED = {
    Kind.MEMBER: {"use_external_uids", "limits", "etag"},
    Kind.USER: {"deactivated", "token_generation", "etag", "public_keys"},
    Kind.SEGMENT: {"last_modified", "etag", "estimated_users"},
}
"""Fields that may hold anything, or that callers do not set."""
MEMBER: dict[str, Any] = {"id": 1, "name": "Member"}
USER: dict[str, Any] = {"id": 1, "username": "user", "member_id": 1, "role": pb.ROLE_MEMBER}
SEGMENT: dict[str, Any] = {"id": 1, "member_id": 1, "state": pb.SEGMENT_STATE_ACTIVE}


def member(**fields: Any) -> pb.Member:
    return pb.Member(**MEMBER | fields)


def user(**fields: Any) -> pb.User:
    return pb.User(**USER | fields)


def segment(**fields: Any) -> pb.Segment:
    return pb.Segment(**SEGMENT | fields)


def refused(message: Object) -> AudienceError:
    with pytest.raises(AudienceError) as error:
        check(message)
    assert error.value.reason is Reason.SYNTAX
    return error.value


ORIGINAL = (
    *("advertiser_id", "category", "enable_rm_piggyback", "max_usersync_pixels", "object_type", "piggyback_pixels"),
    *("price", "provider_id", "querystring_mapping", "querystring_mapping_key_value"),
)

CERTIFICATE_NAMES = (
    "must hold at most 10 different names, each of 1 to 255 visible ASCII characters without commas, and not '-'"
)

GOOD = [
    member(),
    member(id=0),
    member(id=MOST, name="x" * 255, default_expiration=MOST),
    member(segment_access=[1, 2, MOST, 2]),
    member(use_external_uids=True),
    member(use_external_uids=True, external_member_uid=2),
    member(limits={}),
    *(member(limits={name: value}) for name, bounds in LIMITS.items() for value in bounds),
    user(),
    user(username="x" * 255, member_id=MOST, role=pb.ROLE_ADMIN, deactivated=True),
    user(username="Jürgen Müller"),
    user(certificate_names=["spiffe://example.org/a", "a.example", "x" * 255]),
    user(certificate_names=[str(number) for number in range(10)]),
    segment(),
    segment(id=0, code="x", state=pb.SEGMENT_STATE_INACTIVE),
    member(longest_expiration_minutes=MOST),
    segment(expire_minutes=0),
    segment(original_fields={"price": 1.5, "category": None, "querystring_mapping": {"a": [{}]}}),
    segment(code="ü" * 50, short_name="ü" * 255, description="ü" * 500, expire_minutes=MOST),
]

BAD: list[tuple[Object, str, str]] = [
    (member(id=-1), "id", "must be 0 to 2147483647"),
    (member(name=""), "name", "must have 1 to 255 characters"),
    (member(name="x" * 256), "name", "must have 1 to 255 characters"),
    (member(default_expiration=-1), "default_expiration", "must be 0 to 2147483647"),
    (member(segment_access=[2, 0]), "segment_access", "must hold members' IDs, 1 to 2147483647"),
    (member(segment_access=[-2]), "segment_access", "must hold members' IDs, 1 to 2147483647"),
    (member(external_member_uid=2), "external_member_uid", "needs 'use_external_uids'"),
    (member(use_external_uids=True, external_member_uid=0), "external_member_uid", "must be 1 to 2147483647"),
    (member(limits={"posts_per_second": 0}), "limits.posts_per_second", "must be 1 to 2147483647"),
    (member(limits={"gets_per_second": -1}), "limits.gets_per_second", "must be 1 to 2147483647"),
    (member(limits={"users_per_second": 0}), "limits.users_per_second", "must be 1 to 2147483647"),
    (member(limits={"users_per_call": 0}), "limits.users_per_call", "must be 1 to 100000"),
    (member(limits={"users_per_call": 100_001}), "limits.users_per_call", "must be 1 to 100000"),
    (member(limits={"segments_per_user": 0}), "limits.segments_per_user", "must be 1 to 10000"),
    (member(limits={"segments_per_user": 10_001}), "limits.segments_per_user", "must be 1 to 10000"),
    (member(limits={"body_bytes": 0}), "limits.body_bytes", "must be 1 to 1048576"),
    (member(limits={"body_bytes": 1_048_577}), "limits.body_bytes", "must be 1 to 1048576"),
    (user(id=-1), "id", "must be 0 to 2147483647"),
    (user(username=""), "username", "must have 1 to 255 characters"),
    (user(username="x" * 256), "username", "must have 1 to 255 characters"),
    (user(username="a\nb"), "username", "must hold printable characters only"),
    (user(username="a\u200bb"), "username", "must hold printable characters only"),
    *(
        (user(certificate_names=names), "certificate_names", CERTIFICATE_NAMES)
        for names in ([""], ["-"], ["a,b"], ["a b"], ["ä"], ["a", "a"], ["x" * 256], [*"abcdefghijk"])
    ),
    (user(member_id=0), "member_id", "must be 1 to 2147483647"),
    (user(member_id=-1), "member_id", "must be 1 to 2147483647"),
    (user(role=pb.ROLE_UNSPECIFIED), "role", "must be ROLE_MEMBER or ROLE_ADMIN"),
    (user(role=3), "role", "must be ROLE_MEMBER or ROLE_ADMIN"),
    (segment(id=-1), "id", "must be 0 to 2147483647"),
    (segment(member_id=0), "member_id", "must be 1 to 2147483647"),
    (segment(code=""), "code", "must have 1 to 50 characters"),
    (segment(code="x" * 51), "code", "must have 1 to 50 characters"),
    (segment(short_name="x" * 256), "short_name", "must have at most 255 characters"),
    (segment(description="x" * 501), "description", "must have at most 500 characters"),
    (segment(state=pb.SEGMENT_STATE_UNSPECIFIED), "state", "must be SEGMENT_STATE_ACTIVE or SEGMENT_STATE_INACTIVE"),
    (segment(state=7), "state", "must be SEGMENT_STATE_ACTIVE or SEGMENT_STATE_INACTIVE"),
    (member(durability=7), "durability", "must be a known durability"),
    (member(longest_expiration_minutes=-1), "longest_expiration_minutes", "must be 0 to 2147483647"),
    (segment(original_fields={"code": 1}), "original_fields", f"must hold nothing but {', '.join(ORIGINAL)}"),
    (segment(original_fields={"price": math.inf}), "original_fields", "must be JSON of at most 4096 bytes"),
    (segment(expire_minutes=-1), "expire_minutes", "must be 0 to 2147483647"),
]


def test_what_is_allowed(subtests: pytest.Subtests) -> None:
    for message in GOOD:
        with subtests.test(message=message):
            check(message)


def test_what_is_refused_by_field_and_rule(subtests: pytest.Subtests) -> None:
    for message, field, rule in BAD:
        with subtests.test(message=message, field=field, rule=rule):
            error = refused(message)
            where = {"field": field, "object": message.DESCRIPTOR.name.lower()}
            assert (error.message, error.metadata) == (f"'{field}' {rule}", where)


def test_no_field_is_forgotten(subtests: pytest.Subtests) -> None:
    """A new field needs a rule, or a reason to have none."""
    for kind, message in [(Kind.MEMBER, pb.Member), (Kind.USER, pb.User), (Kind.SEGMENT, pb.Segment)]:
        with subtests.test(kind=kind, message=message):
            ruled = {rule.field.partition(".")[0] for rule in RULES[kind]}
            assert ruled | UNCHECKED[kind] == {field.name for field in message.DESCRIPTOR.fields}
            assert set(LIMITS) == {field.name for field in pb.Limits.DESCRIPTOR.fields}
            here = {
                rule.field for rule in RULES[kind] if not rule.field.startswith("batch.")
            }  # they are in test_batch_settings
            assert here <= {field for message, field, _ in BAD}


PASSWORDS = [
    ("Demo-Passw0rd!", True),
    ("aA1!aaaaaa", True),
    ("aA1 aaaaaa", True),
    ("äÖ1€aaaaaa", True),
    ("aA1中aaaaaa", True),
    ("aA1!aaaaa", False),
    ("AAAAAAAA1!", False),
    ("aaaaaaaa1!", False),
    ("aaaaaaaaA!", False),
    ("aaaaaaaaA1", False),
    ("", False),
    ("x" * 1000, False),
]


@pytest.mark.parametrize(("password", "allowed"), PASSWORDS)
def test_a_password_has_ten_characters_of_four_classes(password: str, allowed: bool) -> None:
    if allowed:
        check_password(password)
        return
    with pytest.raises(AudienceError) as error:
        check_password(password, "new_password")
    assert error.value.reason is Reason.SYNTAX
    assert error.value.message.startswith("'new_password' must have at least 10 characters")
    assert error.value.metadata == {"field": "new_password"}
    assert not password or password not in str(error.value)


_CLASSES = ["abcdefgh", "ABCDEFGH", "01234567", "!?- #.,_"]


@given(st.data())
def test_any_password_of_ascii_characters_is_judged_by_its_classes(data: st.DataObject) -> None:
    used = data.draw(st.lists(st.sampled_from(_CLASSES), min_size=1, max_size=4, unique=True))
    password = "".join(data.draw(st.lists(st.sampled_from("".join(used)), max_size=15)))
    allowed = len(password) >= 10 and all(set(password) & set(each) for each in _CLASSES)
    try:
        check_password(password)
    except AudienceError:
        assert not allowed
    else:
        assert allowed


class TestCompleting:
    def test_what_is_meant_where_nothing_is_said(self) -> None:
        assert complete(pb.User(username="u")) == pb.User(username="u", role=pb.ROLE_MEMBER)
        assert complete(pb.Segment(code="c")) == pb.Segment(code="c", state=pb.SEGMENT_STATE_ACTIVE)

    def test_what_is_said_stays(self) -> None:
        for message in (member(limits={"body_bytes": 5}), user(role=pb.ROLE_ADMIN), segment(state=2), user(role=9)):
            assert complete(message) == message

    def test_what_only_the_service_says_goes(self) -> None:
        told = segment(etag="x")
        told.last_modified.FromSeconds(5)
        assert complete(told) == segment()
        assert complete(user(token_generation=4, etag="x")) == user()
        assert complete(member(etag="x")) == member()
        assert told.etag == "x"

    def test_limits_that_say_nothing_are_none(self) -> None:
        completed = complete(member(limits={}))
        assert not completed.HasField("limits")
        kept = member(limits={"body_bytes": 1})
        tidy(kept)
        assert kept.limits.body_bytes == 1


def test_which_members_are_named() -> None:
    named = member(segment_access=[1, 2, 3, 2], use_external_uids=True, external_member_uid=3)
    assert references(named) == {("segment_access", 2), ("segment_access", 3), ("external_member_uid", 3)}
    assert references(member(use_external_uids=True, external_member_uid=1)) == set()
    assert references(user()) == references(segment()) == set()


def test_original_fields_have_4096_bytes_together() -> None:
    fields = {"category": "é" * 2034, "price": 1234}
    check(segment(original_fields=fields))
    error = refused(segment(original_fields=fields | {"price": 12345}))
    assert error.message == "'original_fields' must be JSON of at most 4096 bytes"


@pytest.mark.parametrize("kind", ["list", "object"])
def test_original_fields_can_be_read_wherever_they_are_answered(kind: str) -> None:
    """Protobuf's parsers take a hundred messages in one another."""

    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value] if kind == "list" else {"a": value}
        return segment(original_fields={"category": value})

    deepest = nested(MOST_LEVELS)
    check(deepest)
    answer = pb.ListSegmentsResponse(segments=[deepest])
    assert pb.ListSegmentsResponse.FromString(answer.SerializeToString()) == answer
    assert (
        refused(nested(MOST_LEVELS + 1)).message == "'original_fields' must have at most 16 levels of lists and objects"
    )
