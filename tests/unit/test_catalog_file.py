from pathlib import Path
from typing import Any

import pytest
import yaml
from instantaudience_server.catalog import Role
from instantaudience_server.catalog_file import DEMO, CatalogError, build_catalog, read_catalog
from support import contract_model
from support.callers import demo_catalog

PASSWORD = "Correct-Horse-1"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
GOOD: dict[str, Any] = {
    "members": [
        {"id": 1, "name": "One", "default_expiration": 60, "segment_access": [2], "use_external_uids": True},
        {"id": 2, "name": "Two"},
    ],
    "users": [
        {"id": 10, "username": "ann", "password": PASSWORD, "member_id": 1},
        {"id": 11, "username": "Ann", "password_hash": HASH, "member_id": 2, "active": False, "role": "admin"},
    ],
    "segments": [
        {"id": 100, "member_id": 1, "code": "cars", "short_name": "Cars"},
        {"id": 101, "member_id": 2, "code": "CARS", "state": "inactive"},
        {"id": 102, "member_id": 1},
        {"id": 103, "member_id": 1},
    ],
}


def hashed(password: str) -> str:
    return f"$argon2id$ of {len(password)} characters"


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_good_file(tmp_path: Path) -> None:
    catalog = build_catalog(read_catalog(written(tmp_path, GOOD), hashed))
    one, two = catalog.members[1], catalog.members[2]
    assert (one.name, one.default_expiration_minutes, one.segment_access) == ("One", 60, {1, 2})
    assert (two.name, two.default_expiration_minutes, two.segment_access) == ("Two", 0, {2})
    assert (one.external_member_id, two.external_member_id) == (1, None)
    ann, other = catalog.accounts[10], catalog.accounts_by_name["Ann"]
    assert (ann.username, ann.member_id, ann.active, ann.role) == ("ann", 1, True, Role.MEMBER)
    assert (other.id, other.member_id, other.active, other.role) == (11, 2, False, Role.ADMIN)
    assert catalog.segments[100].active
    assert not catalog.segments[101].active
    assert catalog.segments_by_code == {(1, "cars"): catalog.segments[100], (2, "CARS"): catalog.segments[101]}
    assert (catalog.segments[102].code, catalog.segments[102].short_name) == (None, "")


def test_a_plain_password_is_hashed_and_gone(tmp_path: Path) -> None:
    entries = read_catalog(written(tmp_path, GOOD), hashed)
    assert [user.password for user in entries.users] == [None, None]
    assert [user.password_hash for user in entries.users] == [hashed(PASSWORD), HASH]
    catalog = build_catalog(entries)
    for text in (repr(entries), entries.model_dump_json(), repr(catalog.accounts)):
        assert PASSWORD not in text
    assert HASH not in repr(catalog.accounts)


@pytest.mark.parametrize("content", ["", "members: []\n", "# nothing yet\n", {}])
def test_an_empty_file_is_an_empty_catalog(tmp_path: Path, content: object) -> None:
    catalog = build_catalog(read_catalog(written(tmp_path, content), hashed))
    assert (catalog.members, catalog.accounts, catalog.segments) == ({}, {}, {})


def changed(kind: str, index: int, **fields: Any) -> dict[str, Any]:
    """The good file with fields of an entry replaced, or removed by `...`."""
    entry = {key: value for key, value in {**GOOD[kind][index], **fields}.items() if value is not ...}
    return {**GOOD, kind: [*GOOD[kind][:index], entry, *GOOD[kind][index + 1 :]]}


BROKEN = [
    (changed("members", 0, id=...), "members.0.id: Field required"),
    (changed("members", 0, id=0), "members.0.id: Input should be greater than or equal to 1"),
    (changed("members", 0, id=2**31), "members.0.id: Input should be less than or equal to 2147483647"),
    (changed("members", 0, id="1"), "members.0.id: Input should be a valid integer"),
    (changed("members", 0, id=True), "members.0.id: Input should be a valid integer"),
    (changed("members", 0, name=...), "members.0.name: Field required"),
    (changed("members", 0, name=""), "members.0.name: String should have at least 1 character"),
    (changed("members", 0, default_expiration=-1), "members.0.default_expiration: Input should be greater than"),
    (changed("members", 0, default_expiration=1.5), "members.0.default_expiration: Input should be a valid integer"),
    (changed("members", 0, use_external_uids="yes"), "members.0.use_external_uids: Input should be a valid boolean"),
    (changed("members", 0, segment_access=[0]), "members.0.segment_access.0: Input should be greater than"),
    (changed("members", 0, colour="red"), "members.0.colour: Extra inputs are not permitted"),
    (changed("members", 1, id=1), "members: id 1 stands 2 times"),
    (changed("members", 0, segment_access=[2, 3]), "members: 1: segment_access: there is no member 3"),
    (changed("users", 0, username=""), "users.0.username: String should have at least 1 character"),
    (changed("users", 0, password=...), "users.0: either 'password' or 'password_hash' is required"),
    (changed("users", 0, password_hash=HASH), "users.0: either 'password' or 'password_hash' is required"),
    (changed("users", 0, password=""), "users.0.password: String should have at least 1 character"),
    (changed("users", 0, password=12345), "users.0.password: Input should be a valid string"),
    (changed("users", 1, password_hash="5f4dcc3b"), "users.1.password_hash: String should match pattern"),
    (changed("users", 0, role="root"), "users.0.role: Input should be 'member' or 'admin'"),
    (changed("users", 0, active=1), "users.0.active: Input should be a valid boolean"),
    (changed("users", 1, id=10), "users: id 10 stands 2 times"),
    (changed("users", 1, username="ann"), "users: username ann stands 2 times"),
    (changed("users", 0, member_id=3), "users: ann: there is no member 3"),
    (changed("segments", 0, code=""), "segments.0.code: String should have at least 1 character"),
    (changed("segments", 0, code="x" * 51), "segments.0.code: String should have at most 50 characters"),
    (changed("segments", 0, short_name="x" * 256), "segments.0.short_name: String should have at most 255 characters"),
    (changed("segments", 0, state="paused"), "segments.0.state: Input should be 'active' or 'inactive'"),
    (changed("segments", 1, id=100), "segments: id 100 stands 2 times"),
    (changed("segments", 0, member_id=3), "segments: 100: there is no member 3"),
    (changed("segments", 1, member_id=1), "segments: code (whatever its case) of member ('cars', 1) stands 2 times"),
    ({"groups": []}, "groups: Extra inputs are not permitted"),
    ({"members": {}}, "members: Input should be a valid list"),
    (["members"], "Input should be a valid dictionary"),
    ("just text", "Input should be a valid dictionary"),
    ("members: [", "not YAML"),
    ("members: !!python/object:os.system {}", "not YAML"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_rule_is_named_with_its_place_on_one_line(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(CatalogError) as refused:
        read_catalog(path, hashed)
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text
    assert PASSWORD not in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(CatalogError, match=f"{missing}: No such file or directory"):
        read_catalog(missing, hashed)
    with pytest.raises(CatalogError, match="Is a directory"):
        read_catalog(tmp_path, hashed)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"members: \xff")
    with pytest.raises(CatalogError, match="not YAML"):
        read_catalog(binary, hashed)


def test_codes_of_several_members_may_be_the_same(tmp_path: Path) -> None:
    segments = [{"id": index, "member_id": member_id, "code": "cars"} for index, member_id in ((1, 1), (2, 2))]
    catalog = build_catalog(read_catalog(written(tmp_path, {**GOOD, "segments": segments}), hashed))
    assert {key: segment.id for key, segment in catalog.segments_by_code.items()} == {(1, "cars"): 1, (2, "cars"): 2}


def test_the_demo_catalog_is_what_the_vectors_assume() -> None:
    catalog, model = demo_catalog(), contract_model.DEMO
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
    assert [id_ for id_, member in catalog.members.items() if member.use_external_uids] == [958]
    assert {name: (account.id, account.member_id) for name, account in catalog.accounts_by_name.items()} == {
        "demo": (1001, 123),
        "external": (1002, 958),
        "private": (1003, 777),
        "retired": (1004, 123),
        "admin": (1, 123),
    }
    assert [name for name, account in catalog.accounts_by_name.items() if not account.active] == ["retired"]
    assert [id_ for id_, account in catalog.accounts.items() if account.role is Role.ADMIN] == [1]
    assert {id_: (segment.member_id, segment.code, segment.active) for id_, segment in catalog.segments.items()} == {
        segment["id"]: (segment["member_id"], segment.get("code"), segment.get("state", "active") == "active")
        for segment in model["segments"]
    }
    assert DEMO.is_file()
