"""As what a failed call is counted."""

from instantaudience_server.errors import Reason
from instantaudience_server.store.usage_interface import CallFailure

FAILURES = {
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
STATUSES = {
    400: CallFailure.SYNTAX,
    401: CallFailure.NOAUTH,
    403: CallFailure.UNAUTH,
    404: CallFailure.NOT_FOUND,
    405: CallFailure.METHOD,
    408: CallFailure.TIMEOUT,
    409: CallFailure.INTEGRITY,
    413: CallFailure.LIMIT,
    422: CallFailure.INVALID,
    429: CallFailure.RATE_LIMIT,
    500: CallFailure.INTERNAL,
    503: CallFailure.UNAVAILABLE,
}


def failure_of(reason: Reason) -> CallFailure:
    """As what a call is counted that the service failed."""
    return FAILURES.get(reason, CallFailure.INTERNAL)


def failure_with_status(http_status: int) -> CallFailure:
    """As what a call is counted that the gateway refused with this HTTP status."""
    return STATUSES.get(http_status, CallFailure.SYNTAX if http_status < 500 else CallFailure.INTERNAL)
