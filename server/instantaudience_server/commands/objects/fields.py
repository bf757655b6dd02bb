"""Options for the fields of the catalog's objects (source: catalog.proto)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from google.protobuf.message import Message
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.typed import ids, json_object, large_number, names, number, text

ENUM_PREFIXES = ("SEGMENT_STATE_", "ROLE_", "DURABILITY_", "BATCH_FIELD_")
"""Prefixes of enum values' names."""

Decorator = Callable[[Any], Any]


def batch_fields(value: str) -> list[int]:
    """Parse names of `BatchField`s, separated by commas."""
    known = {name.removeprefix("BATCH_FIELD_"): number for name, number in pb.BatchField.items() if number}
    names = [word.strip().upper() for word in value.split(",") if word.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"there is no field {unknown[0]}; the fields are {', '.join(known)}")
    return [known[name] for name in names]


def word_of(name: str) -> str:
    """The word for an enum value (ROLE_ADMIN: admin; BATCH_FIELD_SEG_ID: seg_id)."""
    prefix = next((each for each in ENUM_PREFIXES if name.startswith(each)), "")
    return name.removeprefix(prefix).lower()


@dataclass(frozen=True)
class Field:
    """A field that an option sets. `path` is its path in the message; `words` maps the words of an enum or a flag to
    values."""

    path: str
    help: str
    type: Callable[[str], Any] = number
    words: Mapping[str, int | bool] | None = None
    flag: str = ""

    @property
    def parameter(self) -> str:
        """The name of the commands' parameter, prefixed so that it does not clash with connection options."""
        return f"field_{self.path.replace('.', '_')}"

    def option(self, required: bool = False) -> Decorator:
        """The Click option; its value is None if it is not given."""
        flag = self.flag or f"--{self.path.rpartition('.')[2].replace('_', '-')}"
        kind = click.Choice(list(self.words)) if self.words else self.type
        return click.option(flag, self.parameter, type=kind, help=self.help, required=required)

    def put(self, message: Any, value: Any) -> None:
        """Set the field in a message."""
        *way, name = self.path.split(".")
        for step in way:
            message = getattr(message, step)
        value = self.words[value] if self.words else value
        if isinstance(value, list):
            getattr(message, name).extend(value)
        elif isinstance(value, dict):
            getattr(message, name).update(value)
        else:
            setattr(message, name, value)


@dataclass(frozen=True)
class Noun:
    """A kind of object. `first` are the fields that can only be set on creation, `fields` those that can be changed.

    `columns` are the paths of the fields in lists; `filters` are fields of the List request.
    """

    name: str
    first: tuple[Field, ...]
    fields: tuple[Field, ...]
    columns: tuple[str, ...]
    filters: tuple[Field, ...] = ()

    def request(self, verb: str, **fields: Any) -> Any:
        """The request message of a method."""
        return getattr(pb, f"{verb}{self.title}Request")(**fields)

    def call(self, client: Client, verb: str, request: Message) -> Any:
        """Call a method; returns the object in the response, or None if it has none."""
        return getattr(client.catalog(f"{verb}{self.title}", request), self.name, None)

    @property
    def title(self) -> str:
        """The kind as it appears in the names of methods."""
        return self.name.title()


YES_NO = {"yes": True, "no": False}


def _batch_fields() -> Iterator[Field]:
    """A member's batch settings: the format of its files, and limits."""
    kinds: tuple[tuple[Callable[[str], Any], Mapping[str, str]], ...] = (
        (
            text,
            {
                "user_separator": "Separator s1 of its files, between the user and the first segment.",
                "segment_separator": "Separator s2, between segments.",
                "field_separator": "Separator s3, between the fields of a segment.",
                "removal_separator": "Separator s4, before the segments that the user leaves.",
                "domain_separator": "Separator s5, before the domain of the user's ID.",
            },
        ),
        (batch_fields, {"fields": "The fields of a segment in its files: SEG_ID,EXPIRATION for example."}),
        (
            large_number,
            {
                "file_bytes": "Bytes of a file.",
                "bytes_per_hour": "Bytes of files, an hour. 0: no limit.",
                "bytes_per_day": "Bytes of files, a day. 0: no limit.",
                "lines_per_hour": "Lines of files, an hour. 0: no limit.",
                "lines_per_day": "Lines of files, a day. 0: no limit.",
            },
        ),
        (
            number,
            {
                "segments_per_line": "Segments of a line of a file.",
                "waiting_jobs": "Files that wait to be applied.",
                "uploads_at_once": "Uploads under way at once.",
                "upload_minutes": "Minutes that an upload may take.",
                "num_invalid_before_error": "Unreadable lines of a file after which its job ends at the next one.",
                "error_lines": "Error lines that a job shows.",
            },
        ),
    )
    for kind, helps in kinds:
        for name, help_text in helps.items():
            yield Field(f"batch.{name}", help_text, kind, flag=f"--batch-{name.replace('_', '-')}")
    yield Field(
        "batch.batch_job_as_list", "Whether REST answers one job in a list.", words=YES_NO, flag="--batch-job-as-list"
    )


MEMBER = Noun(
    name="member",
    first=(Field("id", "The ID; without it, the next free one."),),
    fields=(
        Field("name", "Its name.", text),
        Field("default_expiration", "Minutes that memberships last where neither block nor segment says. 0: for ever."),
        Field("longest_expiration_minutes", "Minutes that memberships last at most. 0: there is no bound."),
        Field("segment_access", "The other members whose segments it may use: IDs with commas between.", ids),
        Field("use_external_uids", "Whether its user IDs are external IDs.", words=YES_NO),
        Field("external_member_uid", "The member whose external IDs it uses; unset: its own."),
        Field(
            "durability",
            "What has taken a write before it is acknowledged; unset: what the service says.",
            words={
                "primary": pb.DURABILITY_PRIMARY,
                "replica": pb.DURABILITY_REPLICA,
                "disk": pb.DURABILITY_DISK,
            },
        ),
        Field("limits.posts_per_second", "Requests to apply memberships, a second."),
        Field("limits.gets_per_second", "Requests to read, a second."),
        Field("limits.users_per_second", "Users in requests to apply memberships, a second."),
        Field("limits.users_per_call", "Users of a request that are looked at."),
        Field("limits.segments_per_user", "Blocks of a user that are looked at."),
        Field("limits.body_bytes", "Bytes of a request."),
        *_batch_fields(),
    ),
    columns=("id", "name", "default_expiration", "segment_access", "use_external_uids", "external_member_uid"),
)
USER = Noun(
    name="user",
    first=(
        Field("id", "The ID; without it, the next free one."),
        Field("member_id", "The member that it signs in for."),
    ),
    fields=(
        Field("username", "Its name for signing in.", text),
        Field("role", "What it may do.", words={"member": pb.ROLE_MEMBER, "admin": pb.ROLE_ADMIN}),
        Field("deactivated", "Whether it may not sign in; its tokens are refused then.", words=YES_NO),
        Field("certificate_names", "Names in client certificates that stand for it: with commas between.", names),
    ),
    columns=("id", "username", "member_id", "role", "deactivated"),
    filters=(Field("member_id", "Only users of this member."),),
)
SEGMENT = Noun(
    name="segment",
    first=(
        Field("id", "The ID; without it, the next free one."),
        Field("member_id", "The member that owns it; without it, that of who signs in."),
    ),
    fields=(
        Field("code", "Its code, unique in its member.", text),
        Field("short_name", "Its name.", text),
        Field("description", "What it is about.", text),
        Field(
            "state",
            "Whether it takes users.",
            words={"active": pb.SEGMENT_STATE_ACTIVE, "inactive": pb.SEGMENT_STATE_INACTIVE},
        ),
        Field("expire_minutes", "Minutes that memberships last whose block does not say. 0: they never end."),
        Field("original_fields", "Fields of the original platform that are kept, as an object in JSON.", json_object),
    ),
    columns=("id", "member_id", "code", "short_name", "state", "expire_minutes", "last_modified"),
    filters=(
        Field("member_id", "Only segments of this member."),
        Field("search", "Only segments whose ID, code or name holds this text.", text),
    ),
)
