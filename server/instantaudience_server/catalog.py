"""Members, their accounts and segments, and who may use whose (source: contract, "What the system makes of a valid
block").

The catalog is read once, from a YAML file, and does not change while the service runs.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What an account may do beyond its member's own affairs."""

    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Member:
    """A company that uses the service.

    `segment_access` are the IDs of the members whose segments it may use, its own included.
    """

    id: int
    name: str
    default_expiration_minutes: int
    segment_access: frozenset[int]
    use_external_uids: bool

    @property
    def external_member_id(self) -> int | None:
        """Whose external IDs the member's user IDs are; None when they are the platform's own."""
        return self.id if self.use_external_uids else None


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who may sign in for a member. `password_hash` is in argon2's own format."""

    id: int
    username: str
    password_hash: str = field(repr=False)
    member_id: int
    active: bool
    role: Role


@dataclass(frozen=True, slots=True)
class Segment:
    """A set of users that a member owns; `code` is None where the owner gave none."""

    id: int
    member_id: int
    code: str | None
    short_name: str
    active: bool


class Catalog:
    """All members, accounts and segments, for lookups from memory."""

    def __init__(self, members: list[Member], accounts: list[Account], segments: list[Segment]) -> None:
        self.members = {member.id: member for member in members}
        self.accounts = {account.id: account for account in accounts}
        self.accounts_by_name = {account.username: account for account in accounts}
        self.segments = {segment.id: segment for segment in segments}
        self.segments_by_code = {
            (segment.member_id, segment.code): segment for segment in segments if segment.code is not None
        }
