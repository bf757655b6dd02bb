"""Limits how often a password may be guessed (source: contract-neighbours, section 1, "failed sign-ins"; ADR 24).

A guess is counted before the password is checked, and no longer counted if it was right. So no more guesses are checked
than are allowed, however many come at once on any workers.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from instantaudience_server.errors import STORE_FAILURES, AudienceError, Reason, overloaded
from instantaudience_server.passwords.hashing import TOO_MANY
from instantaudience_server.store.interfaces.guesses import GuessStore

MOST_WRONG = 10
"""The most wrong passwords for a name from one network within `WINDOW_MS`."""
WINDOW_MS = 5 * 60 * 1000
NETWORK_BITS = 64
"""The prefix length of an IPv6 network: one customer usually has all of its addresses."""
LOOK_SECONDS = 0.05
"""How often to check whether a guess under way has made room."""
LATE_MS = 1000
"""How long after its deadline a guess that was not ended counts as wrong: its worker has died."""
WITHDRAW_SECONDS = 1.0
"""How long the cluster may take to withdraw a guess that was not checked."""
RANDOM_BYTES = 16
TEXT = f"Rate limit exceeded. {MOST_WRONG} wrong passwords for this user in 5 minutes, wait and try again"


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess under way: its subject (`subject_of`), and its unique name (`GuessStore.begin_guess`)."""

    subject: str
    name: str


class Guesses:
    """Counts guesses. At sign-in, they are counted by user name and the caller's network; where a signed-in account
    confirms its own password, the address is empty. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: GuessStore, random_hex: Callable[[int], str]) -> None:
        self._store = store
        self._random_hex = random_hex
        self._loop = asyncio.get_running_loop()
        self._aside: set[asyncio.Task[None]] = set()

    async def is_right(self, username: str, address: str, deadline: float, look: Callable[[], Awaitable[bool]]) -> bool:
        """Count a guess, and return whether it is right, as `look` finds out. A wrong guess stays counted. If `look`
        raises, the guess is withdrawn, and the exception propagates.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; UNAVAILABLE, also when too many are under way.
        """
        guess = await self._begin(username, address, deadline)
        with self._withdrawing(guess) as withdrawal:
            right = await look()
            if right:
                await self._end(guess, deadline, wrong=False)
            withdrawal.pop_all()
        if not right:
            await self._end(guess, deadline, wrong=True)  # if that fails, it still counts as wrong a little later
        return right

    async def close(self) -> None:
        """Wait until pending withdrawals are done."""
        await asyncio.gather(*self._aside)

    async def _begin(self, username: str, address: str, deadline: float) -> Guess:
        """Count a guess, waiting for room while others are under way.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED, UNAVAILABLE.
        """
        subject, word = subject_of(username, address), self._random_hex(RANDOM_BYTES)
        while True:
            lasts_ms = round(1000 * (deadline - self._loop.time())) + LATE_MS
            guess = Guess(subject, f"{max(lasts_ms, 0)} {word}")
            with self._withdrawing(guess) as withdrawal:
                wait_ms = await self._store.begin_guess(guess.subject, guess.name, WINDOW_MS, MOST_WRONG, deadline)
                withdrawal.pop_all()
            if wait_ms == 0:
                return guess
            if wait_ms is not None:
                raise AudienceError(
                    Reason.RATE_LIMIT_EXCEEDED,
                    TEXT,
                    retry_after_seconds=math.ceil(wait_ms / 1000),
                    count=str(MOST_WRONG),
                )
            if self._loop.time() + LOOK_SECONDS >= deadline:
                raise overloaded(TOO_MANY)
            await asyncio.sleep(LOOK_SECONDS)

    async def _end(self, guess: Guess, deadline: float, *, wrong: bool) -> None:
        await self._store.end_guess(guess.subject, guess.name, deadline, wrong=wrong)

    def _withdrawing(self, guess: Guess) -> contextlib.ExitStack:
        """Withdraw a guess at the end of the block, unless `pop_all` was called: its outcome was not revealed."""
        withdrawal = contextlib.ExitStack()
        withdrawal.callback(self._withdraw_aside, guess)
        return withdrawal

    def _withdraw_aside(self, guess: Guess) -> None:
        task = self._loop.create_task(self._withdraw(guess))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _withdraw(self, guess: Guess) -> None:
        # If this fails, the guess counts as wrong when its time is over.
        with contextlib.suppress(*STORE_FAILURES):
            await self._end(guess, self._loop.time() + WITHDRAW_SECONDS, wrong=False)


def subject_of(username: str, address: str) -> str:
    """A hash of a user name and a network, in hexadecimal, so that neither is in the cluster."""
    return hashlib.sha256(f"{network_of(address)}\n{username}".encode()).hexdigest()


def network_of(address: str) -> str:
    """The network of a caller's address: an IPv4 address itself, or the first 64 bits of an IPv6 address.

    Everything that is not an address is one network, "".
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, NETWORK_BITS), strict=False))
