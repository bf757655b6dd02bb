"""The errors of services, independent of the transport (source: contract, "Errors").

Services raise `AudienceError`; `transport/status.py` says what a caller sees of it. Any other exception that leaves a
service is a defect.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

NOT_EMPTY = "is required and cannot be empty"
"""The rule for texts that a request must have."""


class Reason(enum.Enum):
    """Why a call failed. The mapping to gRPC codes, HTTP statuses and `error_id` is in `transport/status.py`."""

    SYNTAX = enum.auto()
    INVALID = enum.auto()
    NOT_FOUND = enum.auto()
    NO_SUCH_METHOD = enum.auto()
    NOAUTH = enum.auto()
    INVALID_LOGIN = enum.auto()
    NOAUTH_DISABLED = enum.auto()
    UNAUTH = enum.auto()
    INTEGRITY = enum.auto()
    CHANGED_MEANWHILE = enum.auto()
    IN_USE = enum.auto()
    LIMIT = enum.auto()
    RATE_LIMIT_EXCEEDED = enum.auto()
    UNAVAILABLE = enum.auto()
    INTERNAL = enum.auto()


class Cause(enum.Enum):
    """Details the public reason, which covers several cases (source: errors.proto, ErrorCause, which documents each).

    `transport/status.py` has the default cause of each reason.
    """

    UNREADABLE_REQUEST = enum.auto()
    INVALID_REQUEST = enum.auto()
    UNKNOWN_OBJECT = enum.auto()
    UNKNOWN_METHOD = enum.auto()
    TOKEN_MISSING = enum.auto()
    TOKEN_ENDED = enum.auto()
    WRONG_CREDENTIALS = enum.auto()
    USER_DEACTIVATED = enum.auto()
    NOT_PERMITTED = enum.auto()
    TAKEN = enum.auto()
    CHANGED_MEANWHILE = enum.auto()
    IN_USE = enum.auto()
    TOO_LARGE = enum.auto()
    TOO_MANY = enum.auto()
    UNREACHABLE = enum.auto()
    OVERLOADED = enum.auto()
    DEFECT = enum.auto()


class Spent(NamedTuple):
    """A quota of which a member has nothing left: all its calls of this kind are refused, whatever they hold.

    That lasts until `until` at least (a time of the event loop's clock, in seconds). `quota` is the metric's name for
    what is used up, and `refused` is how many calls this process has refused over it so far.
    """

    member_id: int
    quota: str
    until: float
    refused: int


class AudienceError(Exception):
    """A call failed for a reason that its caller is told.

    `message` is sent to the caller unchanged: it names the field and the rule, and nothing of the implementation.
    `retry_after_seconds` is set if a retry may succeed. `cause` is set if it is not the default of the reason.
    `metadata` goes into `google.rpc.ErrorInfo`; in it, `field` is the path of a field in the request or, if there is an
    `object`, in that part of the request.
    `member_id` is the caller's member if it is known although the caller was refused; `nodes` are the nodes of the
    cluster that did not answer in time; `spent` is set if all further calls like it will be refused, too. Callers see
    none of these.
    """

    member_id: int | None = None
    nodes: Sequence[str] = ()
    spent: Spent | None = None

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry_after_seconds: int | None = None,
        cause: Cause | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.cause = cause
        self.metadata = metadata

    def of_member(self, member_id: int) -> "AudienceError":
        """Set the member whose call failed; returns this error."""
        self.member_id = member_id
        return self


KEY_OF_ANOTHER_TYPE = 'docs/runbook.md, "CommandsRefused", says how to find the key that something else has written'
"""What to do about WRONGTYPE."""


class RefusedCommandError(RuntimeError):
    """A node of the cluster refused a command for good: a defect of the service or of the cluster's configuration."""

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(f"{node} refused a command: {problem}")
        self.nodes = (f"{node} ({problem})",)
        self._problem = problem

    def mend(self, rights: str) -> str:
        """What to do about it: find the key of another type, or else `rights`, as the ACL may forbid the command."""
        return KEY_OF_ANOTHER_TYPE if self._problem == "WRONGTYPE" else rights


STORE_FAILURES = (AudienceError, RefusedCommandError)
"""The exceptions of the store: UNAVAILABLE, or a command that a node refused, because of its ACL for example."""


def unavailable(message: str) -> AudienceError:
    """UNAVAILABLE: the cluster or this server cannot take the call now; it may succeed a second later."""
    return AudienceError(Reason.UNAVAILABLE, message, retry_after_seconds=1)


def overloaded(message: str, retry_after_seconds: int = 1) -> AudienceError:
    """As `unavailable`, because the server is overloaded."""
    return AudienceError(Reason.UNAVAILABLE, message, retry_after_seconds=retry_after_seconds, cause=Cause.OVERLOADED)


def unreadable(message: str) -> AudienceError:
    """SYNTAX: the request cannot be decoded."""
    return AudienceError(Reason.SYNTAX, message, cause=Cause.UNREADABLE_REQUEST)


def invalid(field: str, rule: str, *, of: str | None = None) -> AudienceError:
    """SYNTAX: a field breaks a rule. `field` is its path in the request, or in the part `of` the request if given."""
    error = AudienceError(Reason.SYNTAX, f"'{field}' {rule}", field=field)
    if of is not None:
        error.metadata["object"] = of
    return error


def required(field: str, *, of: str | None = None) -> AudienceError:
    """SYNTAX: a required field is absent. `field` and `of` are as in `invalid`."""
    return invalid(field, "is required", of=of)
