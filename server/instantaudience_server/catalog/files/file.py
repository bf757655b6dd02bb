"""Reads and checks the catalog as a YAML file (`file_entries` writes it)."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from google.protobuf.message import Message
from instantaudience.v1 import catalog_pb2 as pb
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    field_serializer,
    model_validator,
)

from instantaudience_server.catalog import original_fields, rules
from instantaudience_server.catalog.batch_settings import BatchField
from instantaudience_server.catalog.files.file_entries import BATCH_FIELD_PREFIX
from instantaudience_server.catalog.files.yaml_lists import ListEntry, YamlError, read_lists
from instantaudience_server.catalog.records import Object, unique_name
from instantaudience_server.errors import AudienceError
from instantaudience_server.passwords.hashing import HASH_RULE, is_password_hash
from instantaudience_server.process.threads import Progress
from instantaudience_server.settings import Durability

DEMO = Path(__file__).with_name("demo.yaml")
"""The catalog of `--demo`; its passwords are public."""
ENTRIES_BETWEEN_PROGRESS = 1000

Id = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
Int32 = Annotated[StrictInt, Field(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)]
Entry = pb.Member | pb.ImportedUser | pb.Segment


class CatalogError(Exception):
    """The file cannot be used. The message is one line with the place in the file and the rule."""


class _Entry(BaseModel):
    """An entry of the file, with the types of its fields; `rules` checks their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitsEntry(_Entry):
    """A member's limits that differ from the default."""

    posts_per_second: Int32 | None = None
    gets_per_second: Int32 | None = None
    users_per_second: Int32 | None = None
    users_per_call: Int32 | None = None
    segments_per_user: Int32 | None = None
    body_bytes: Int32 | None = None


class BatchEntry(_Entry):
    """A member's settings for files that differ from the default."""

    user_separator: StrictStr | None = None
    segment_separator: StrictStr | None = None
    field_separator: StrictStr | None = None
    removal_separator: StrictStr | None = None
    domain_separator: StrictStr | None = None
    fields: list[BatchField] | None = None
    file_bytes: Int64 | None = None
    segments_per_line: Int32 | None = None
    waiting_jobs: Int32 | None = None
    uploads_at_once: Int32 | None = None
    upload_minutes: Int32 | None = None
    bytes_per_hour: Int64 | None = None
    bytes_per_day: Int64 | None = None
    lines_per_hour: Int64 | None = None
    lines_per_day: Int64 | None = None
    num_invalid_before_error: Int32 | None = None
    error_lines: Int32 | None = None
    batch_job_as_list: StrictBool | None = None

    @field_serializer("fields")
    def _enum_names(self, fields: list[BatchField] | None) -> list[str] | None:
        return None if fields is None else [f"{BATCH_FIELD_PREFIX}{field}" for field in fields]


class MemberEntry(_Entry):
    """A member."""

    id: Id
    name: StrictStr
    default_expiration: Int32 = 0
    longest_expiration_minutes: Int32 = 0
    segment_access: list[Id] = []
    use_external_uids: StrictBool = False
    external_member_uid: Int32 | None = None
    limits: LimitsEntry | None = None
    batch: BatchEntry | None = None
    durability: Durability | None = None

    def message(self) -> pb.Member:
        """The entry as a protobuf message."""
        fields = self.model_dump(exclude_none=True)
        if self.durability is not None:
            fields["durability"] = f"DURABILITY_{self.durability.name}"
        return pb.Member(**fields)


class UserEntry(_Entry):
    """A user, with a password or its argon2 hash, or with neither if the cluster already has the user."""

    id: Id
    username: StrictStr
    password: StrictStr | None = Field(default=None, repr=False)
    password_hash: StrictStr | None = Field(default=None, repr=False)
    member_id: Id
    active: StrictBool = True
    role: Literal["member", "admin"] = "member"
    certificate_names: list[StrictStr] = []

    @model_validator(mode="after")
    def _one_secret(self) -> "UserEntry":
        if self.password is not None and self.password_hash is not None:
            raise ValueError("'password' and 'password_hash' cannot be used together")
        if self.password_hash is not None and not is_password_hash(self.password_hash):
            raise ValueError(f"'password_hash' {HASH_RULE}")
        return self

    def message(self) -> pb.ImportedUser:
        """The entry as a protobuf message, with its secret."""
        role = pb.ROLE_ADMIN if self.role == "admin" else pb.ROLE_MEMBER
        user = pb.User(
            id=self.id,
            username=self.username,
            member_id=self.member_id,
            role=role,
            deactivated=not self.active,
            certificate_names=self.certificate_names,
        )
        return pb.ImportedUser(user=user, password=self.password, password_hash=self.password_hash)


class SegmentEntry(_Entry):
    """A segment."""

    id: Id
    member_id: Id
    code: StrictStr | None = None
    short_name: StrictStr = ""
    description: StrictStr = ""
    state: Literal["active", "inactive"] = "active"
    expire_minutes: Int32 | None = None
    original_fields: dict[str, JsonValue] = {}

    def message(self) -> pb.Segment:
        """The entry as a protobuf message.

        Raises:
            ValueError: `original_fields` have a number that a double cannot hold exactly.
        """
        if not original_fields.have_all_digits(self.original_fields):
            raise ValueError(f"'original_fields': {original_fields.DIGITS_LOST}")
        return pb.Segment(
            id=self.id,
            member_id=self.member_id,
            code=self.code,
            short_name=self.short_name,
            description=self.description,
            state=pb.SEGMENT_STATE_ACTIVE if self.state == "active" else pb.SEGMENT_STATE_INACTIVE,
            expire_minutes=self.expire_minutes,
            original_fields=self.original_fields,
        )


@dataclass(frozen=True)
class CatalogEntries:
    """The checked entries of a file, in the order of the file."""

    members: list[pb.Member] = field(default_factory=list)
    users: list[pb.ImportedUser] = field(default_factory=list, repr=False)
    segments: list[pb.Segment] = field(default_factory=list)

    @property
    def lists(self) -> dict[str, list[Any]]:
        """The entries by the names of their lists: members first, because the others refer to them."""
        return vars(self)

    @property
    def size(self) -> int:
        """How many entries there are."""
        return sum(map(len, self.lists.values()))


def object_of(entry: Entry) -> Object:
    """The object in an entry, which may have a secret beside it."""
    return entry.user if isinstance(entry, pb.ImportedUser) else entry


_ENTRIES: dict[str, type[MemberEntry] | type[UserEntry] | type[SegmentEntry]] = {
    "members": MemberEntry,
    "users": UserEntry,
    "segments": SegmentEntry,
}


_NAME_TAKEN = {
    "users": "another user has this 'username'",
    "segments": "another segment of the member has this 'code', whatever its case",
}


def read_catalog(path: Path, *, complete: bool = True, progress: Progress = lambda _done, _all: None) -> CatalogEntries:
    """Read and check a file; `progress` counts bytes. Unless `complete`, the file may name members that are not in it.

    Raises:
        CatalogError: the file is missing, is not YAML, or breaks a rule.
    """
    try:
        with path.open("rb") as source:
            return read_entries(source, str(path), complete=complete, progress=progress)
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from error


def read_entries(source: BinaryIO, name: str, *, complete: bool, progress: Progress) -> CatalogEntries:
    """As `read_catalog`, from an open file; `name` is for messages."""
    try:
        return _Reading(complete).read(source, progress)
    except YamlError as error:
        raise CatalogError(f"{name}: {error}") from error
    except _BrokenRuleError as error:
        raise CatalogError(f"{name}: {error}") from None


def place_of(list_name: str, index: int, object_id: object) -> str:
    """The name of an entry in messages."""
    return f"{list_name}[{index}]" + (f" (id {object_id})" if type(object_id) is int else "")


class _BrokenRuleError(Exception):
    """The message names the place and the rule."""


class _Reading:
    """Checks entries one by one, and against earlier ones."""

    def __init__(self, complete: bool) -> None:
        self._complete = complete
        self._entries = CatalogEntries()
        self._ids: dict[str, set[int]] = {name: set() for name in _ENTRIES}
        self._names: set[str] = set()
        self._certificate_names: set[str] = set()

    def read(self, source: BinaryIO, progress: Progress) -> CatalogEntries:
        if not source.seekable():  # a pipe
            source = io.BytesIO(source.read())
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        for number, entry in enumerate(read_lists(source, _ENTRIES), 1):
            place = place_of(entry.list_name, entry.position, _id_in(entry.value))
            try:
                self._entries.lists[entry.list_name].append(self._checked(entry))
            except ValidationError as error:
                raise _BrokenRuleError(f"{place}: {_first_line(error)}") from None
            except (AudienceError, ValueError, OverflowError) as error:
                raise _BrokenRuleError(f"{place}: {error}") from None
            if number % ENTRIES_BETWEEN_PROGRESS == 0:
                progress(source.tell(), size)
        if self._complete:
            self._check_members()
        progress(size, size)
        return self._entries

    def _checked(self, entry: ListEntry) -> Message:
        message = _ENTRIES[entry.list_name].model_validate(entry.value).message()
        checked = object_of(message)
        rules.tidy(checked)
        rules.check(checked)
        if isinstance(message, pb.ImportedUser) and message.HasField("password"):
            rules.check_password(message.password)
        if checked.id in self._ids[entry.list_name]:
            raise ValueError("'id' stands there twice")
        self._ids[entry.list_name].add(checked.id)
        for each in checked.certificate_names if isinstance(checked, pb.User) else ():
            if each in self._certificate_names:
                raise ValueError("another user has one of these 'certificate_names'")
            self._certificate_names.add(each)
        name = unique_name(checked)
        if name in self._names:
            raise ValueError(_NAME_TAKEN[entry.list_name])
        if name is not None:
            self._names.add(name)
        return message

    def _check_members(self) -> None:
        known = self._ids["members"]
        for index, member in enumerate(self._entries.members):
            for field_name, member_id in sorted(rules.references(member)):
                _must_be_known(field_name, member_id, known, place_of("members", index, member.id))
        for index, each in enumerate(self._entries.users):
            _must_be_known("member_id", each.user.member_id, known, place_of("users", index, each.user.id))
        for index, segment in enumerate(self._entries.segments):
            _must_be_known("member_id", segment.member_id, known, place_of("segments", index, segment.id))


def _must_be_known(field_name: str, member_id: int, known: set[int], place: str) -> None:
    if member_id not in known:
        raise _BrokenRuleError(f"{place}: '{field_name}': there is no member {member_id} in this file")


def _id_in(value: Any) -> object:
    return value.get("id") if isinstance(value, dict) else None


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
