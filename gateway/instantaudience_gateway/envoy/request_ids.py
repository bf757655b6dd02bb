"""The request ID, `x-request-id`: the caller's own if it is valid, otherwise a new one."""

from typing import Any

from instantaudience_server.transport.calls.call import LONGEST_REQUEST_ID

from instantaudience_gateway.contract.replies import set_header

HEADER = "x-request-id"
_NEW = "x-new-request-id"
_OWN = f"request.headers['{HEADER}']"
_IS_ONE = f"'{HEADER}' in request.headers && size({_OWN}) <= {LONGEST_REQUEST_ID} && {_OWN}.matches('^[!-~]+$')"


def own_or_new() -> list[dict[str, Any]]:
    """Header mutations that give every request a valid ID: visible ASCII, of limited length."""
    return [
        {"append": set_header(_NEW, "%UNIQUE_ID%")},
        {"append": set_header(HEADER, f"%CEL({_IS_ONE} ? {_OWN} : request.headers['{_NEW}'])%")},
        {"remove": _NEW},
    ]
