"""The name of a request, `x-request-id`: its caller's own, where that can be one, and else a new one."""

from typing import Any

from instantaudience_server.transport.calls.call import LONGEST_REQUEST_ID

from instantaudience_gateway.contract.replies import set_header

HEADER = "x-request-id"
_NEW = "x-new-request-id"
_OWN = f"request.headers['{HEADER}']"
_IS_ONE = f"'{HEADER}' in request.headers && size({_OWN}) <= {LONGEST_REQUEST_ID} && {_OWN}.matches('^[!-~]+$')"


def own_or_new() -> list[dict[str, Any]]:
    """What sees to it that a request has a name: visible ASCII, and not too long."""
    return [
        {"append": set_header(_NEW, "%UNIQUE_ID%")},
        {"append": set_header(HEADER, f"%CEL({_IS_ONE} ? {_OWN} : request.headers['{_NEW}'])%")},
        {"remove": _NEW},
    ]
