"""gRPC's threads do not come along into a process that is forked: calls there would wait for ever, or end it."""

import os

_first: list[int] = []
"""The process that has made a client; those forked from it have this, too."""


_FORKED = (
    "this process was forked from one that had a client, which gRPC does not survive: make clients only after forking,"
    ' or start processes by multiprocessing\'s "spawn"'
)


class Process:
    """The one that a client belongs to.

    Raises:
        RuntimeError: it was forked from one that had a client.
    """

    def __init__(self) -> None:
        self._id = os.getpid()
        if not _first:
            _first.append(self._id)
        if _first[0] != self._id:
            raise RuntimeError(_FORKED)

    def is_here(self) -> bool:
        """Whether this is that process."""
        return os.getpid() == self._id

    def check(self) -> None:
        """Nothing, in that process.

        Raises:
            RuntimeError: this is one that was forked from it.
        """
        if not self.is_here():
            raise RuntimeError(_FORKED)
