"""The rules for single objects of the catalog (source: the comments of catalog.proto).

Rules across objects (unique names, owners that exist) are enforced by the store and by `editor`.
"""

import copy
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, TypeVar

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog import batch_settings, original_fields
from instantaudience_server.catalog.records import Object, kind_of
from instantaudience_server.errors import AudienceError, Reason, invalid
from instantaudience_server.settings import BODY_LIMIT_BYTES
from instantaudience_server.store.interfaces.catalog import Kind

New = TypeVar("New", bound=Object)

LARGEST_ID = 2**31 - 1
MOST_CERTIFICATE_NAMES = 10
MOST_IMPORTED = 1000
"""The most objects in a request to import."""
LONGEST_CERTIFICATE_NAME = 255
LONGEST_USERNAME = 255
"""The most characters of a user name."""
SHORTEST_PASSWORD = 10
"""The fewest characters of a password."""

LIMITS = {
    "posts_per_second": (1, 2**31 - 1),
    "gets_per_second": (1, 2**31 - 1),
    "users_per_second": (1, 2**31 - 1),
    "users_per_call": (1, 100_000),
    "segments_per_user": (1, 10_000),
    "body_bytes": (1, BODY_LIMIT_BYTES),
}
"""A member's limit → its least and largest value."""

SEGMENT_LENGTHS = {"code": (1, 50), "short_name": (0, 255), "description": (0, 500)}
"""A text of a segment → the fewest and the most characters."""

Holds = Callable[[Any], bool]


class Rule(NamedTuple):
    """A rule for a field: whether a message obeys it, and the rule as text."""

    field: str
    holds: Holds
    text: str


def _between(field: str, least: int, most: int) -> Rule:
    return Rule(field, lambda message: least <= getattr(message, field) <= most, f"must be {least} to {most}")


def _long(field: str, least: int, most: int) -> Rule:
    size = f"{least} to {most}" if least else f"at most {most}"
    return Rule(field, lambda message: least <= len(getattr(message, field)) <= most, f"must have {size} characters")


def _one_of(field: str, values: Collection[int], names: str) -> Rule:
    return Rule(field, lambda message: getattr(message, field) in values, f"must be {names}")


def _where(condition: Holds, rule: Rule) -> Rule:
    """A rule that applies only to messages that fulfil the condition."""
    return rule._replace(holds=lambda message: not condition(message) or rule.holds(message))


def _within(part: str, rule: Rule) -> Rule:
    """A rule for the message in a field, as a rule for the outer message."""
    return Rule(f"{part}.{rule.field}", lambda message: rule.holds(getattr(message, part)), rule.text)


def _limit(part: str, field: str, least: int, most: int) -> Rule:
    return _within(part, _where(lambda limits: limits.HasField(field), _between(field, least, most)))


def _are_ids(values: Iterable[int]) -> bool:
    return all(1 <= value <= LARGEST_ID for value in values)


def _are_certificate_names(names: Collection[str]) -> bool:
    """Whether names can be those of a client certificate. Commas separate names there, and "-" stands for none (see
    `transport/calls/call.py`)."""
    fine = all(
        len(name) <= LONGEST_CERTIFICATE_NAME and re.fullmatch(r"[!-+\--~]+", name) and name != "-" for name in names
    )
    return fine and len(set(names)) == len(names) <= MOST_CERTIFICATE_NAMES


_ID = _between("id", 0, LARGEST_ID)
_OWNER = _between("member_id", 1, LARGEST_ID)

RULES: dict[Kind, tuple[Rule, ...]] = {
    Kind.MEMBER: (
        _ID,
        _long("name", 1, 255),
        _between("default_expiration", 0, 2**31 - 1),
        _between("longest_expiration_minutes", 0, 2**31 - 1),
        Rule(
            "segment_access",
            lambda member: _are_ids(member.segment_access),
            f"must hold members' IDs, 1 to {LARGEST_ID}",
        ),
        _where(
            lambda member: member.HasField("external_member_uid"),
            Rule("external_member_uid", lambda member: member.use_external_uids, "needs 'use_external_uids'"),
        ),
        _where(lambda member: member.HasField("external_member_uid"), _between("external_member_uid", 1, LARGEST_ID)),
        _one_of("durability", pb.Durability.values(), "a known durability"),
        *(_limit("limits", field, least, most) for field, (least, most) in LIMITS.items()),
        *(_within("batch", Rule(*rule)) for rule in batch_settings.RULES),
        *(_limit("batch", field, least, most) for field, (least, most) in batch_settings.LIMITS.items()),
    ),
    Kind.USER: (
        _ID,
        _long("username", 1, LONGEST_USERNAME),
        Rule("username", lambda user: user.username.isprintable(), "must hold printable characters only"),
        _OWNER,
        _one_of("role", (pb.ROLE_MEMBER, pb.ROLE_ADMIN), "ROLE_MEMBER or ROLE_ADMIN"),
        Rule(
            "certificate_names",
            lambda user: _are_certificate_names(user.certificate_names),
            f"must hold at most {MOST_CERTIFICATE_NAMES} different names, each of 1 to {LONGEST_CERTIFICATE_NAME} "
            "visible ASCII characters without commas, and not '-'",
        ),
    ),
    Kind.SEGMENT: (
        _ID,
        _OWNER,
        _where(lambda segment: segment.HasField("code"), _long("code", *SEGMENT_LENGTHS["code"])),
        _long("short_name", *SEGMENT_LENGTHS["short_name"]),
        _long("description", *SEGMENT_LENGTHS["description"]),
        _one_of(
            "state",
            (pb.SEGMENT_STATE_ACTIVE, pb.SEGMENT_STATE_INACTIVE),
            "SEGMENT_STATE_ACTIVE or SEGMENT_STATE_INACTIVE",
        ),
        _between("expire_minutes", 0, 2**31 - 1),
        Rule(
            "original_fields",
            lambda segment: original_fields.NAMES.issuperset(segment.original_fields.fields),
            f"must hold nothing but {', '.join(sorted(original_fields.NAMES))}",
        ),
        Rule(
            "original_fields",
            lambda segment: original_fields.are_short(segment.original_fields),
            f"must be JSON of at most {original_fields.MOST_BYTES} bytes",
        ),
        Rule(
            "original_fields",
            lambda segment: original_fields.are_shallow(segment.original_fields),
            original_fields.TOO_DEEP,
        ),
    ),
}
"""The rules of each kind, in the order in which they are checked; the first that is broken is reported."""

_CLASSES: tuple[Callable[[str], bool], ...] = (str.islower, str.isupper, str.isdecimal)


def check(message: Object) -> None:
    """Check an object; an `id` of 0 means the next free one, and is valid.

    Raises:
        AudienceError: SYNTAX, with the field and the rule.
    """
    for rule in RULES[kind_of(message)]:
        if not rule.holds(message):
            raise invalid(rule.field, rule.text, of=kind_of(message))


def check_password(password: str, field: str = "password") -> None:
    """Check a new password; `field` is its field in the request. The error does not quote it.

    Raises:
        AudienceError: SYNTAX, with the field and the rule.
    """
    classes = {next((each for each in _CLASSES if each(character)), None) for character in password}
    if len(password) < SHORTEST_PASSWORD or len(classes) <= len(_CLASSES):
        raise AudienceError(
            Reason.SYNTAX,
            f"'{field}' must have at least {SHORTEST_PASSWORD} characters, with a lower-case letter, an upper-case "
            "letter, a digit, and another character",
            field=field,
        )


def references(message: Object) -> set[tuple[str, int]]:
    """The other members that a member names, as pairs of field and ID. They must exist when they are first named."""
    if not isinstance(message, pb.Member):
        return set()
    named = {("segment_access", member_id) for member_id in message.segment_access}
    if message.HasField("external_member_uid"):
        named.add(("external_member_uid", message.external_member_uid))
    return {(field, member_id) for field, member_id in named if member_id != message.id}


def complete(message: New) -> New:
    """A copy of a new object with defaults filled in, and without fields that only the service sets."""
    completed = copy.deepcopy(message)
    completed.ClearField("etag")
    if isinstance(completed, pb.User):
        completed.role = completed.role or pb.ROLE_MEMBER
        completed.ClearField("token_generation")
        completed.ClearField("public_keys")
    elif isinstance(completed, pb.Segment):
        completed.state = completed.state or pb.SEGMENT_STATE_ACTIVE
        completed.ClearField("last_modified")
        completed.ClearField("estimated_users")
    tidy(completed)
    return completed


def tidy(message: Object) -> None:
    """Remove empty limits, settings and original fields, so that equal objects have equal encodings."""
    if isinstance(message, pb.Member):
        for name in ("limits", "batch"):
            if not getattr(message, name).ListFields():
                message.ClearField(name)
    if isinstance(message, pb.Segment) and not message.original_fields.fields:
        message.ClearField("original_fields")
