"""What can go wrong, whatever the transport (source: contract, "Errors").

Services raise `AudienceError`; `transport/status.py` says what a caller sees of it. Anything else that escapes a
service is a defect.
"""

import enum
from collections.abc import Sequence

NOT_EMPTY = "is required and cannot be empty"
"""The rule of texts that a request must have."""


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
    """What the public reason leaves open (source: errors.proto, ErrorCause, which documents each).

    `transport/status.py` has the one that a reason has by default.
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


class AudienceError(Exception):
    """A call failed for a reason that its caller may know.

    `message` goes to the caller as it is: it names the field and the rule, and says nothing of the inside.
    `retry_after_seconds` is set where waiting helps. `cause` is set where it is not the reason's own. `metadata` goes
    into `google.rpc.ErrorInfo`; `field` in it is the path of a field of the request, or of the `object` in it.
    `member_id` says whose call it was where a caller that is known could not be let in, and `nodes` which nodes of the
    cluster did not answer in time; callers see neither.
    """

    member_id: int | None = None
    nodes: Sequence[str] = ()

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
        """This error, of a call that is known to be a member's."""
        self.member_id = member_id
        return self


class RefusedCommandError(RuntimeError):
    """A node of the cluster refused a command for good: a defect, of ours or of how the cluster is set up."""

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(f"{node} refused a command: {problem}")
        self.nodes = (f"{node} ({problem})",)


STORE_FAILURES = (AudienceError, RefusedCommandError)
"""How the store fails: with UNAVAILABLE, or because a node refused a command, by its ACL for example."""


def unavailable(message: str) -> AudienceError:
    """The cluster or this server cannot take the call now; the same call may succeed a second later."""
    return AudienceError(Reason.UNAVAILABLE, message, retry_after_seconds=1)


def overloaded(message: str, retry_after_seconds: int = 1) -> AudienceError:
    """As `unavailable`: there is more to do than this server takes on."""
    return AudienceError(Reason.UNAVAILABLE, message, retry_after_seconds=retry_after_seconds, cause=Cause.OVERLOADED)


def unreadable(message: str) -> AudienceError:
    """The request is no readable message."""
    return AudienceError(Reason.SYNTAX, message, cause=Cause.UNREADABLE_REQUEST)


def invalid(field: str, rule: str, *, of: str | None = None) -> AudienceError:
    """A field of the request breaks a rule; `field` is its path, in the object `of` the request where there is one."""
    error = AudienceError(Reason.SYNTAX, f"'{field}' {rule}", field=field)
    if of is not None:
        error.metadata["object"] = of
    return error


def required(field: str, *, of: str | None = None) -> AudienceError:
    """The request lacks a field; `field` is its path, in the object `of` the request where there is one."""
    return invalid(field, "is required", of=of)
