"""What a failed call counts as in its member's usage report."""

from instantaudience_server.errors import Reason
from instantaudience_server.store.interfaces.usage import CallFailure

REASONS = {
    Reason.SYNTAX: CallFailure.SYNTAX,
    Reason.INVALID: CallFailure.INVALID,
    Reason.NOT_FOUND: CallFailure.NOT_FOUND,
    Reason.NO_SUCH_METHOD: CallFailure.NOT_FOUND,
    Reason.NOAUTH: CallFailure.NOAUTH,
    Reason.INVALID_LOGIN: CallFailure.NOAUTH,
    Reason.NOAUTH_DISABLED: CallFailure.NOAUTH,
    Reason.UNAUTH: CallFailure.UNAUTH,
    Reason.INTEGRITY: CallFailure.INTEGRITY,
    Reason.CHANGED_MEANWHILE: CallFailure.INTEGRITY,
    Reason.IN_USE: CallFailure.INTEGRITY,
    Reason.LIMIT: CallFailure.LIMIT,
    Reason.RATE_LIMIT_EXCEEDED: CallFailure.RATE_LIMIT,
    Reason.UNAVAILABLE: CallFailure.UNAVAILABLE,
    Reason.INTERNAL: CallFailure.INTERNAL,
}
"""For calls that the service fails: by reason."""
REFUSALS = {
    400: CallFailure.SYNTAX,
    404: CallFailure.NOT_FOUND,
    405: CallFailure.METHOD,
    408: CallFailure.TIMEOUT,
    413: CallFailure.LIMIT,
    422: CallFailure.INVALID,
}
"""For calls that the gateway refuses: by HTTP status. It refuses members' calls with no other status."""
