"""Tells a service manager, such as systemd with `Type=notify`, when the service serves and when it begins to end.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import contextlib
import socket
from collections.abc import MutableMapping

READY = "READY=1"
STOPPING = "STOPPING=1"

_VARIABLE = "NOTIFY_SOCKET"


class ServiceManager:
    """Whatever has started this process, if `environment` names a socket on which it listens. The variable is removed:
    child processes have nothing to say."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop(_VARIABLE, "")

    def tell(self, state: str) -> None:
        """Send a state. Does nothing where nobody listens: the variable may come from another service that has started
        the one who types, and has ended."""
        if not self._address:
            return
        abstract = self._address.startswith("@")
        address = f"\0{self._address[1:]}" if abstract else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(state.encode(), address)
