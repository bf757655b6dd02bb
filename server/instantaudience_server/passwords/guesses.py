"""How often a password may be guessed (source: contract's neighbours, section 1, "failed sign-ins"; ADR 24).

A guess is counted before it is looked at, and taken back where it was right: so no more are looked at than are allowed,
however many come at once, at whichever worker.
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
"""Wrong passwords for a name from one address within `WINDOW_MS`."""
WINDOW_MS = 5 * 60 * 1000
NETWORK_BITS = 64
"""How many bits of an IPv6 address name its network: whoever has one address has all others that begin like it."""
LOOK_SECONDS = 0.05
"""How often it is looked whether a guess that is under way has made room."""
LATE_MS = 1000
"""How long after its deadline a guess counts as wrong that nobody has ended: its worker has died."""
WITHDRAW_SECONDS = 1.0
"""How long the cluster has to take back a guess that nobody has looked at."""
RANDOM_BYTES = 16
TEXT = f"Rate limit exceeded. {MOST_WRONG} wrong passwords for this user in 5 minutes, wait and try again"


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess under way: of which name from which address (hashed), and its own name there."""

    subject: str
    name: str


class Guesses:
    """Counts guesses: of a name from an address at sign-in, from none where an account says its own password again.
    Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: GuessStore, random_hex: Callable[[int], str]) -> None:
        self._store = store
        self._random_hex = random_hex
        self._loop = asyncio.get_running_loop()
        self._aside: set[asyncio.Task[None]] = set()

    async def is_right(self, username: str, address: str, deadline: float, look: Callable[[], Awaitable[bool]]) -> bool:
        """Whether a guess is right, as `look` finds when the guess is counted. It counts on where it was wrong. What
        `look` raises is passed on, and the guess taken back.

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
            await self._end(guess, deadline, wrong=True)  # where that fails, it counts all the same, a little later
        return right

    async def close(self) -> None:
        """Wait for what is being withdrawn."""
        await asyncio.gather(*self._aside)

    async def _begin(self, username: str, address: str, deadline: float) -> Guess:
        """Count a guess, before it is looked at."""
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
        """Take a guess back at the end of the block, unless `pop_all` was called: nobody was told anything of it."""
        withdrawal = contextlib.ExitStack()
        withdrawal.callback(self._withdraw_aside, guess)
        return withdrawal

    def _withdraw_aside(self, guess: Guess) -> None:
        task = self._loop.create_task(self._withdraw(guess))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _withdraw(self, guess: Guess) -> None:
        # One that cannot be taken back counts as wrong when its time is over.
        with contextlib.suppress(*STORE_FAILURES):
            await self._end(guess, self._loop.time() + WITHDRAW_SECONDS, wrong=False)


def subject_of(username: str, address: str) -> str:
    """Names a user name and a network, in hexadecimal: neither stands in the cluster."""
    return hashlib.sha256(f"{network_of(address)}\n{username}".encode()).hexdigest()


def network_of(address: str) -> str:
    """The network that a caller's address stands for: an IPv4 address itself, an IPv6 address' first 64 bits.

    What is no address is a network of its own.
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
