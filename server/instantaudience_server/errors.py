"""What can go wrong, whatever the transport (source: contract, "Errors").

Services raise `AudienceError`; `transport/status.py` says what a caller sees of it. Anything else that escapes a
service is a defect.
"""

import enum


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


class AudienceError(Exception):
    """A call failed for a reason that its caller may know.

    `message` goes to the caller as it is: it names the field and the rule, and says nothing of the inside.
    `retry_after_seconds` is set where waiting helps. `metadata` goes into `google.rpc.ErrorInfo`. `member_id` says
    whose call it was where a caller that is known could not be let in; callers do not see it.
    """

    member_id: int | None = None

    def __init__(
        self, reason: Reason, message: str, *, retry_after_seconds: int | None = None, **metadata: str
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata

    def of_member(self, member_id: int) -> "AudienceError":
        """This error, of a call that is known to be a member's."""
        self.member_id = member_id
        return self


def unavailable(message: str) -> AudienceError:
    """The cluster or this server cannot take the call now; the same call may succeed a second later."""
    return AudienceError(Reason.UNAVAILABLE, message, retry_after_seconds=1)
