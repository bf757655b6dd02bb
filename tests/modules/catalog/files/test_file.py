"""The catalog's file: what may stand in it, how it is written, and what a long one costs."""

import resource
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.admission.quotas import Limits
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.catalog.files.file import CatalogError, read_catalog
from instantaudience_server.catalog.files.file_entries import write_entry
from instantaudience_server.settings import Durability
from support.contract import model
from support.parts.callers import account_named, catalog_of, demo_catalog

PASSWORD = "Correct-Horse-1"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
LIMITS = {
    "posts_per_second": 1,
    "gets_per_second": 2,
    "users_per_second": 3,
    "users_per_call": 4,
    "segments_per_user": 5,
    "body_bytes": 6,
}
GOOD: dict[str, Any] = {
    "members": [
        {
            "id": 1,
            "name": "One",
            "default_expiration": 60,
            "longest_expiration_minutes": 90,
            "segment_access": [2],
            "use_external_uids": True,
            "external_member_uid": 2,
            "limits": LIMITS,
            "durability": "replica",
        },
        {"id": 2, "name": "Two"},
    ],
    "users": [
        {"id": 10, "username": "ann", "password": PASSWORD, "member_id": 1},
        {"id": 11, "username": "Ann", "password_hash": HASH, "member_id": 2, "active": False, "role": "admin"},
        {"id": 12, "username": "nobody", "member_id": 2},
    ],
    "segments": [
        {
            "id": 100,
            "member_id": 1,
            "code": "cars",
            "short_name": "Cars",
            "description": "Fond of cars",
            "expire_minutes": 30,
            "original_fields": {"price": 1.5, "category": None, "querystring_mapping": {"No": [True, "x"]}},
        },
        {"id": 101, "member_id": 2, "code": "CARS", "state": "inactive"},
        {"id": 102, "member_id": 1},
        {"id": 103, "member_id": 1},
    ],
}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_good_file(tmp_path: Path) -> None:
    entries = read_catalog(written(tmp_path, GOOD))
    catalog = catalog_of(entries)
    one, two = catalog.members[1], catalog.members[2]
    assert (one.name, one.default_expiration_minutes, one.segment_access) == ("One", 60, {1, 2})
    assert (one.durability, two.durability) == (Durability.REPLICA, None)
    assert (one.longest_expiration_minutes, two.longest_expiration_minutes) == (90, 0)
    assert (two.name, two.default_expiration_minutes, two.segment_access) == ("Two", 0, {2})
    assert (one.external_member_id, two.external_member_id) == (2, None)
    assert (one.limits, two.limits) == (Limits(1, 2, 3, 4, 5, 6), Limits())
    ann, other = catalog.accounts[10], account_named("Ann", catalog)
    assert (ann.username, ann.member_id, ann.active, ann.role) == ("ann", 1, True, Role.MEMBER)
    assert (other.id, other.member_id, other.active, other.role) == (11, 2, False, Role.ADMIN)
    assert [(each.password, each.password_hash) for each in entries.users] == [(PASSWORD, ""), ("", HASH), ("", "")]
    expected = [
        pb.Segment(id=100, member_id=1, code="cars", short_name="Cars", description="Fond of cars", expire_minutes=30),
        pb.Segment(id=101, member_id=2, code="CARS", state=pb.SEGMENT_STATE_INACTIVE),
        pb.Segment(id=102, member_id=1),
        pb.Segment(id=103, member_id=1),
    ]
    expected[0].original_fields.update(GOOD["segments"][0]["original_fields"])
    for segment in expected:
        segment.state = segment.state or pb.SEGMENT_STATE_ACTIVE
    assert entries.segments == expected


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    entries = read_catalog(written(tmp_path, GOOD))
    assert PASSWORD not in repr(entries)
    assert HASH not in repr(entries)


@pytest.mark.parametrize("content", ["", "members: []\n", "# nothing yet\n", {}, "---\n", "users:\n", "null"])
def test_an_empty_file_is_an_empty_catalog(tmp_path: Path, content: object) -> None:
    catalog = catalog_of(read_catalog(written(tmp_path, content)))
    assert (catalog.members, catalog.accounts, catalog.count_segments()) == ({}, {}, 0)


STYLES = """
%YAML 1.1
---
segments:  # lists may stand in any order
- id: 5
  member_id: 1_0
  short_name: &name "in two\\
    lines"
- {id: 0x6, member_id: 10, short_name: *name, code: '12'}
- {id: 7, member_id: 10, short_name: !!str 12, description: '', code: 'a: b'}
members: [&first {id: 10, name: Ten, limits: &limits {posts_per_second: 1}}, {id: 11, name: é, limits: *limits}]
...
"""


def test_any_style_of_yaml(tmp_path: Path) -> None:
    entries = read_catalog(written(tmp_path, STYLES))
    assert [(each.id, each.member_id, each.short_name, each.code) for each in entries.segments] == [
        (5, 10, "in twolines", ""),
        (6, 10, "in twolines", "12"),
        (7, 10, "12", "a: b"),
    ]
    assert [(each.id, each.name, each.limits.posts_per_second) for each in entries.members] == [
        (10, "Ten", 1),
        (11, "é", 1),
    ]


def changed(kind: str, index: int, **fields: Any) -> dict[str, Any]:
    """The good file with fields of an entry replaced, or removed by `...`."""
    entry = {key: value for key, value in {**GOOD[kind][index], **fields}.items() if value is not ...}
    return {**GOOD, kind: [*GOOD[kind][:index], entry, *GOOD[kind][index + 1 :]]}


BROKEN = [
    (changed("members", 0, id=...), "members[0]: id: Field required"),
    (changed("members", 0, id=0), "members[0] (id 0): id: Input should be greater than or equal to 1"),
    (changed("members", 0, id=2**31), "members[0] (id 2147483648): id: Input should be less than or equal to"),
    (changed("members", 0, id="1"), "members[0]: id: Input should be a valid integer"),
    (changed("members", 0, id=True), "members[0]: id: Input should be a valid integer"),
    (changed("members", 0, name=...), "members[0] (id 1): name: Field required"),
    (changed("members", 0, name=""), "members[0] (id 1): 'name' must have 1 to 255 characters"),
    (changed("members", 0, default_expiration=-1), "members[0] (id 1): 'default_expiration' must be 0 to"),
    (
        changed("members", 0, default_expiration=1.5),
        "members[0] (id 1): default_expiration: Input should be a valid int",
    ),
    (changed("members", 0, durability="paper"), "durability: Input should be 'primary', 'replica' or 'disk'"),
    (changed("members", 0, use_external_uids="yes"), "use_external_uids: Input should be a valid boolean"),
    (changed("members", 0, use_external_uids=False), "'external_member_uid' needs 'use_external_uids'"),
    (changed("members", 0, external_member_uid=3), "members[0] (id 1): 'external_member_uid': there is no member 3"),
    (changed("members", 0, segment_access=[0]), "members[0] (id 1): segment_access.0: Input should be greater than"),
    (changed("members", 0, limits={"posts_per_second": 0}), "'limits.posts_per_second' must be 1 to"),
    (changed("members", 0, limits={"users_per_call": 100_001}), "'limits.users_per_call' must be 1 to 100000"),
    (changed("members", 0, limits={"segments_per_user": 10_001}), "'limits.segments_per_user' must be 1 to 10000"),
    (changed("members", 0, limits={"body_bytes": 2**20 + 1}), "'limits.body_bytes' must be 1 to 1048576"),
    (changed("members", 0, limits={"posts_per_second": "1"}), "limits.posts_per_second: Input should be a valid int"),
    (changed("members", 0, limits={"posts": 1}), "limits.posts: Extra inputs are not permitted"),
    (changed("members", 0, colour="red"), "colour: Extra inputs are not permitted"),
    (changed("members", 1, id=1), "members[1] (id 1): 'id' stands there twice"),
    (changed("members", 0, segment_access=[2, 3]), "members[0] (id 1): 'segment_access': there is no member 3"),
    (changed("users", 0, username=""), "users[0] (id 10): 'username' must have 1 to 255 characters"),
    (changed("users", 0, username="a\tb"), "users[0] (id 10): 'username' must hold printable characters"),
    (changed("users", 0, password_hash=HASH), "'password' and 'password_hash' cannot be used together"),
    (changed("users", 0, password=""), "users[0] (id 10): 'password' must have at least 10 characters"),
    (changed("users", 0, password=PASSWORD[:9]), "users[0] (id 10): 'password' must have at least 10 characters"),
    (changed("users", 0, password="correct-horse-1"), "users[0] (id 10): 'password' must have"),
    (changed("users", 0, password="CorrectHorse1"), "users[0] (id 10): 'password' must have"),
    (changed("users", 0, password=12345), "users[0] (id 10): password: Input should be a valid string"),
    (changed("users", 1, password_hash="5f4dcc3b"), "users[1] (id 11): 'password_hash' must be an argon2id hash"),
    (changed("users", 0, role="root"), "users[0] (id 10): role: Input should be 'member' or 'admin'"),
    (changed("users", 0, active=1), "users[0] (id 10): active: Input should be a valid boolean"),
    (changed("users", 1, id=10), "users[1] (id 10): 'id' stands there twice"),
    (changed("users", 1, username="ann"), "users[1] (id 11): another user has this 'username'"),
    (changed("users", 0, member_id=3), "users[0] (id 10): 'member_id': there is no member 3"),
    (changed("segments", 0, code=""), "segments[0] (id 100): 'code' must have 1 to 50 characters"),
    (changed("segments", 0, code="x" * 51), "segments[0] (id 100): 'code' must have 1 to 50 characters"),
    (changed("segments", 0, short_name="x" * 256), "'short_name' must have at most 255 characters"),
    (changed("segments", 0, description="x" * 501), "'description' must have at most 500 characters"),
    (changed("segments", 0, expire_minutes=-1), "segments[0] (id 100): 'expire_minutes' must be 0 to"),
    (changed("segments", 0, state="paused"), "state: Input should be 'active' or 'inactive'"),
    (changed("segments", 1, id=100), "segments[1] (id 100): 'id' stands there twice"),
    (changed("segments", 0, member_id=3), "segments[0] (id 100): 'member_id': there is no member 3"),
    (changed("segments", 1, member_id=1), "segments[1] (id 101): another segment of the member has this 'code', what"),
    ({"groups": [1]}, "groups: there is no such list; there are members, users, segments"),
    ({"groups": []}, "groups: there is no such list; there are members, users, segments"),
    ({"member": None}, "member: there is no such list; there are members, users, segments"),
    ({"members": {}}, "members: this must be a list"),
    ({"members": [1]}, "members[0]: Input should be a valid dictionary"),
    (["members"], "this must be a mapping of lists"),
    ("just text", "this must be a mapping of lists"),
    ("members: [", "not YAML"),
    ("members: [!!python/object:os.system {}]", "the tag tag:yaml.org,2002:python/object:os.system is not known"),
    ("members: [!!python/name:os.system x]", "not YAML: could not determine a constructor"),
    ("members: [{id: 1, id: 1, name: x}]", "line 1, column 19: the key 'id' stands twice"),
    ("members: []\nmembers: []", "line 2, column 1: the key 'members' stands twice"),
    ("members: [{1: 1}]", "line 1, column 12: a key must be text"),
    ("members: [*nobody]", "there is no anchor 'nobody' before it"),
    ("members: [&loop [*loop]]", "there is no anchor 'loop' before it"),
    ("members: [{id: 1, name: 2020-99-99}]", "not YAML: month must be in 1..12"),
    ("members: [!!int '']", "not YAML: a value with the tag tag:yaml.org,2002:int is none"),
    ("members: [!!timestamp x]", "a value with the tag tag:yaml.org,2002:timestamp is none"),
    ("members: [!!bool x]", "a value with the tag tag:yaml.org,2002:bool is none"),
    (
        "segments: [{id: 1, member_id: 1, original_fields: {price: 1%s}}]" % ("0" * 400),
        "segments[0] (id 1): int too large to convert to float",
    ),
    (
        "segments: [{id: 1, member_id: 1, original_fields: {category: {a: [-9007199254740993]}}}]",
        "segments[0] (id 1): 'original_fields': a double has fewer digits than a number in it: write that as a string",
    ),
    ("members: [" + "[" * 100, "this lies deeper than 70 levels"),
    ("members: []\n---\nmembers: []", "there is more than one document"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_rule_is_named_with_its_place_on_one_line(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(CatalogError) as refused:
        read_catalog(path)
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text
    assert PASSWORD not in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(CatalogError, match=f"{missing}: No such file or directory"):
        read_catalog(missing)
    with pytest.raises(CatalogError, match="Is a directory"):
        read_catalog(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"members: \xff")
    with pytest.raises(CatalogError, match="not YAML"):
        read_catalog(binary)


def test_codes_of_several_members_may_be_the_same(tmp_path: Path) -> None:
    segments = [{"id": index, "member_id": member_id, "code": "cars"} for index, member_id in ((1, 1), (2, 2))]
    entries = read_catalog(written(tmp_path, {**GOOD, "segments": segments}))
    assert [(each.id, each.member_id, each.code) for each in entries.segments] == [(1, 1, "cars"), (2, 2, "cars")]


def test_a_file_that_need_not_be_complete_may_name_other_members(tmp_path: Path) -> None:
    path = written(tmp_path, {"segments": GOOD["segments"]})
    assert len(read_catalog(path, complete=False).segments) == len(GOOD["segments"])
    with pytest.raises(CatalogError, match="there is no member 1"):
        read_catalog(path)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.sampled_from([1.5, 1e-05, -2.5e-09]) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.one_of(
    st.builds(
        pb.Member,
        id=st.integers(1, 2**31 - 1),
        name=TEXT,
        default_expiration=st.integers(0, 2**31 - 1),
        longest_expiration_minutes=st.integers(0, 2**31 - 1),
        durability=st.sampled_from(pb.Durability.values()),
        segment_access=st.lists(st.integers(1, 2**31 - 1), max_size=3),
        use_external_uids=st.just(True),
        external_member_uid=st.none() | st.integers(1, 2**31 - 1),
        limits=st.none() | st.builds(pb.Limits, posts_per_second=st.integers(1, 9), body_bytes=st.none() | st.just(9)),
        batch=st.none()
        | st.builds(
            pb.BatchSettings,
            user_separator=st.none() | st.sampled_from("=;"),
            segment_separator=st.none() | st.sampled_from(["", "&"]),
            fields=st.sampled_from([[], [pb.BATCH_FIELD_VALUE, pb.BATCH_FIELD_SEG_CODE]]),
            bytes_per_day=st.none() | st.integers(0, 2**50),
            error_lines=st.integers(0, 999),
            batch_job_as_list=st.booleans(),
        ),
        etag=TEXT,
    ),
    st.builds(
        pb.User,
        id=st.integers(1, 2**31 - 1),
        username=TEXT.filter(str.isprintable),
        member_id=st.integers(1, 2**31 - 1),
        role=st.sampled_from([pb.ROLE_MEMBER, pb.ROLE_ADMIN]),
        deactivated=st.booleans(),
        etag=TEXT,
    ),
    st.builds(
        pb.Segment,
        id=st.integers(1, 2**31 - 1),
        member_id=st.integers(1, 2**31 - 1),
        code=st.none() | TEXT,
        short_name=TEXT,
        description=TEXT,
        state=st.sampled_from([pb.SEGMENT_STATE_ACTIVE, pb.SEGMENT_STATE_INACTIVE]),
        expire_minutes=st.none() | st.integers(0, 2**31 - 1),
        original_fields=st.none() | st.dictionaries(st.sampled_from(["price", "category"]), JSON, min_size=1),
        etag=TEXT,
    ),
)
"""What the service may hold."""


@given(st.lists(OBJECTS, max_size=3, unique_by=lambda message: message.id))
def test_what_was_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, messages: list[Any]) -> None:
    lists = {pb.Member: "members", pb.User: "users", pb.Segment: "segments"}
    lines = []
    for message_type, name in lists.items():
        of_type = [message for message in messages if isinstance(message, message_type)]
        lines += [f"{name}:\n", *map(write_entry, of_type)]
    path = tmp_path_factory.mktemp("written") / "catalog.yaml"
    path.write_text("".join(lines), encoding="utf-8")
    try:
        entries = read_catalog(path, complete=False)
    except CatalogError as error:
        assert "another" in str(error)  # names need not differ here  # noqa: PT017
        return
    read = [*entries.members, *(each.user for each in entries.users), *entries.segments]
    for message in messages:
        message.etag = ""
    assert sorted(read, key=lambda message: message.id) == sorted(messages, key=lambda message: message.id)


async def test_the_demo_catalog_is_what_the_vectors_assume() -> None:
    catalog, modelled = demo_catalog(), model.DEMO
    assert {id_: member.segment_access for id_, member in catalog.members.items()} == {
        123: {123, 1661, 1262},
        1661: {1661},
        1262: {1262},
        958: {958},
        777: {777},
    }
    assert {id_: member.default_expiration_minutes for id_, member in catalog.members.items()} == {
        123: 43200,
        1661: 0,
        1262: 0,
        958: 1440,
        777: 0,
    }
    assert {id_: member.external_member_id for id_, member in catalog.members.items() if member.external_member_id} == {
        958: 958
    }
    assert {account.username: (account.id, account.member_id) for account in catalog.accounts.values()} == {
        "demo": (1001, 123),
        "external": (1002, 958),
        "private": (1003, 777),
        "retired": (1004, 123),
        "admin": (1, 123),
    }
    assert [account.username for account in catalog.accounts.values() if not account.active] == ["retired"]
    assert [id_ for id_, account in catalog.accounts.items() if account.role is Role.ADMIN] == [1]
    page = await catalog.page_of_segments(limit=1000)
    assert {each.id: (each.member_id, each.code, each.state) for each in page.segments} == {
        segment["id"]: (
            segment["member_id"],
            segment.get("code", ""),
            pb.SegmentState.Value(f"SEGMENT_STATE_{segment.get('state', 'active').upper()}"),
        )
        for segment in modelled["segments"]
    }


def test_a_long_file_takes_no_more_memory_than_its_entries(tmp_path: Path) -> None:
    """20,000 segments, of which YAML's nodes would be 100 MB; the progress is told on the way."""
    count = 20_000
    path = tmp_path / "catalog.yaml"
    with path.open("w") as file:
        file.write("segments:\n")
        for number in range(1, count + 1):
            file.write(write_entry(pb.Segment(id=number, member_id=1, code=f"code_{number}", short_name="A segment")))
    told: list[tuple[int, int]] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entries = read_catalog(path, complete=False, progress=lambda done, size: told.append((done, size)))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(entries.segments) == count
    assert grown_kib < 50 * 1024
    size = path.stat().st_size
    assert told == sorted(told)
    assert {each for _, each in told} == {size}
    assert told[0][0] < size / 10
    assert told[-1] == (size, size)
