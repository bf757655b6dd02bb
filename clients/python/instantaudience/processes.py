"""Fork detection: gRPC's threads do not survive a fork, so calls in a forked process would hang or crash it."""

import os

_first: list[int] = []
"""The ID of the process that made the first client; inherited by forked processes."""


_FORKED = (
    "this process was forked from one that had a client, which gRPC does not survive: make clients only after forking,"
    ' or start processes by multiprocessing\'s "spawn"'
)


class Process:
    """The process that a client belongs to.

    Raises:
        RuntimeError: this process was forked from one that had a client.
    """

    def __init__(self) -> None:
        self._id = os.getpid()
        if not _first:
            _first.append(self._id)
        if _first[0] != self._id:
            raise RuntimeError(_FORKED)

    def is_here(self) -> bool:
        """Whether the current process is the client's."""
        return os.getpid() == self._id

    def check(self) -> None:
        """Check that the current process is the client's.

        Raises:
            RuntimeError: it was forked from that.
        """
        if not self.is_here():
            raise RuntimeError(_FORKED)
