"""The log's lines about commands that nodes refuse for good.

What goes on beside calls asks again several times a second, and a call may have thousands of commands: where one is
refused, all are, mostly for hours. So a line tells that it begins, one a minute that it goes on, and one that it is
over.
"""

import asyncio
from collections import Counter

import structlog

from instantaudience_server.observation.telemetry import Event

log = structlog.get_logger()

PAUSE_SECONDS = 60.0
"""How often it is told that a node goes on refusing; when it has not done so for as long, it is over."""

_Kind = tuple[str, str]
"""The node, and what it answers."""


class Refusals:
    """Writes the lines."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._commands: Counter[_Kind] = Counter()
        """How many were refused since the last line."""
        self._slots: dict[_Kind, int] = {}
        """The slot of the newest one."""
        self._next: dict[_Kind, asyncio.TimerHandle] = {}

    def note(self, node: str, problem: str, slot: int) -> None:
        """A node has refused a command on a key in `slot`. By that, the key can be found; it may name a user, so that
        it must not be in the log itself."""
        kind = node, problem
        self._slots[kind] = slot
        if kind in self._next:
            self._commands[kind] += 1
            return
        log.error(Event.STORE_COMMAND_REFUSED, node=node, error=problem, slot=slot)
        self._look_later(kind)

    def close(self) -> None:
        """Say nothing more."""
        for timer in self._next.values():
            timer.cancel()

    def _look_later(self, kind: _Kind) -> None:
        self._next[kind] = self._loop.call_later(PAUSE_SECONDS, self._look, kind)

    def _look(self, kind: _Kind) -> None:
        node, problem = kind
        if commands := self._commands.pop(kind, 0):
            slot = self._slots[kind]
            log.error(Event.STORE_COMMANDS_REFUSED, node=node, error=problem, slot=slot, commands=commands)
            self._look_later(kind)
        else:
            log.info(Event.STORE_REFUSALS_OVER, node=node, error=problem)
            del self._next[kind], self._slots[kind]
