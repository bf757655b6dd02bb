"""Where a service is."""

import re

_FORM = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\])(?::([1-9][0-9]{0,4}))?")
"""A name or an IPv4 address, or one of IPv6 in brackets, and a port, which may be missing."""
_MOST_PORT = 65535


def check(endpoint: str) -> None:
    """Check that this is `host:port`: gRPC would fail late of most else, or go to another port.

    Raises:
        ValueError: it is not.
    """
    form = _FORM.fullmatch(endpoint)
    if form is None or int(form[1] or 0) > _MOST_PORT:
        raise ValueError(
            f"endpoint is {endpoint!r}: it has to be host:port and nothing else, with a port from 1 to {_MOST_PORT} "
            "and brackets around an IPv6 address; without TLS, plaintext is True"
        )
