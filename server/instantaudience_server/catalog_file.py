"""Reads the catalog from a YAML file, checks it, and hashes plain passwords."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError, model_validator

from instantaudience_server.catalog import Account, Catalog, Member, Role, Segment

DEMO = Path(__file__).parent / "catalog.demo.yaml"
"""The catalog of `--demo`; its passwords are public."""

Id = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
Minutes = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
HashPassword = Callable[[str], str]


class CatalogError(Exception):
    """The file cannot be used; the message is one line that names the place and the rule."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MemberEntry(_Entry):
    """A member, as it stands in the file."""

    id: Id
    name: StrictStr = Field(min_length=1)
    default_expiration: Minutes = 0
    segment_access: list[Id] = []
    use_external_uids: StrictBool = False


class UserEntry(_Entry):
    """An account, as it stands in the file: with a password, or with its argon2 hash."""

    id: Id
    username: StrictStr = Field(min_length=1)
    password: StrictStr | None = Field(default=None, min_length=1, repr=False)
    password_hash: StrictStr | None = Field(default=None, pattern=r"^\$argon2id?\$", repr=False)
    member_id: Id
    active: StrictBool = True
    role: Literal["member", "admin"] = "member"

    @model_validator(mode="after")
    def _one_password(self) -> "UserEntry":
        if (self.password is None) == (self.password_hash is None):
            raise ValueError("either 'password' or 'password_hash' is required, not both")
        return self


class SegmentEntry(_Entry):
    """A segment, as it stands in the file."""

    id: Id
    member_id: Id
    code: StrictStr | None = Field(default=None, min_length=1, max_length=50)
    short_name: StrictStr = Field(default="", max_length=255)
    state: Literal["active", "inactive"] = "active"


class CatalogEntries(_Entry):
    """The whole file."""

    members: list[MemberEntry] = []
    users: list[UserEntry] = []
    segments: list[SegmentEntry] = []

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogEntries":
        _unique("members: id", (member.id for member in self.members))
        _unique("users: id", (user.id for user in self.users))
        _unique("users: username", (user.username for user in self.users))
        _unique("segments: id", (segment.id for segment in self.segments))
        _unique(
            "segments: code (whatever its case) of member",
            ((segment.code.lower(), segment.member_id) for segment in self.segments if segment.code is not None),
        )
        known = {member.id for member in self.members}
        used = [(f"users: {user.username}", user.member_id) for user in self.users]
        used += [(f"segments: {segment.id}", segment.member_id) for segment in self.segments]
        used += [
            (f"members: {member.id}: segment_access", id_) for member in self.members for id_ in member.segment_access
        ]
        for place, member_id in used:
            if member_id not in known:
                raise ValueError(f"{place}: there is no member {member_id}")
        return self


def read_catalog(path: Path, hash_password: HashPassword) -> CatalogEntries:
    """Read and check a file; in the result, every account has a password hash and none a password.

    Raises:
        CatalogError: the file is missing, is not YAML, or breaks a rule.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    entries = _validated(str(path), content)
    hashed = [
        user
        if user.password is None
        else user.model_copy(update={"password": None, "password_hash": hash_password(user.password)})
        for user in entries.users
    ]
    return entries.model_copy(update={"users": hashed})


def build_catalog(entries: CatalogEntries) -> Catalog:
    """Make the catalog of checked entries whose passwords are hashed."""
    return Catalog(
        [
            Member(
                id=member.id,
                name=member.name,
                default_expiration_minutes=member.default_expiration,
                segment_access=frozenset((member.id, *member.segment_access)),
                use_external_uids=member.use_external_uids,
            )
            for member in entries.members
        ],
        [
            Account(
                id=user.id,
                username=user.username,
                password_hash=user.password_hash or "",
                member_id=user.member_id,
                active=user.active,
                role=Role(user.role),
            )
            for user in entries.users
        ],
        [
            Segment(
                id=segment.id,
                member_id=segment.member_id,
                code=segment.code,
                short_name=segment.short_name,
                active=segment.state == "active",
            )
            for segment in entries.segments
        ],
    )


def _validated(source: str, content: Any) -> CatalogEntries:
    try:
        return CatalogEntries.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CatalogError(
            f"{source}: {place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from error


def _unique(what: str, values: Iterable[Hashable]) -> None:
    value, count = next(iter(Counter(values).most_common(1)), (None, 0))
    if count > 1:
        raise ValueError(f"{what} {value} stands {count} times")
