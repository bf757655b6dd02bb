"""The process that hashes a worker's passwords: `python -m instantaudience_server.passwords.hasher [LOCK]` (`hashing`).

Each line on standard input is a JSON list: `["hash", password]`, or `["verify", password, hash]` with null for no hash.
The answer is a line of JSON: a hash, or true or false. The process ends at the end of its input. Processes with the
same LOCK, a file that is created where it is missing, hash one password at a time between them.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import error_to_str

NICENESS = 5
"""The process's niceness (nice(1)): where it competes with a process of niceness 0, it gets a third of that one's
time."""
PATIENCE_SECONDS = 0.3
"""How long a password is hashed on idle time only (SCHED_IDLE), of which a busy machine may have none."""
NOBODYS_HASH = "$argon2id$v=19$m=19456,t=2,p=1$ic3MSt5aIr47z5c73g6fxw$QqHKt3IUDIXd7oPeZL56lHp9O3iaPgh9eiyMJjENt38"
"""The hash of a random password, with the parameters of all others. It is checked where a user name is unknown, so that
the answer takes as long as for a known one."""

NO_MEMORY = error_to_str(-22)
"""What argon2 says where it gets no memory (`ARGON2_MEMORY_ALLOCATION_ERROR` in its argon2.h)."""
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""Parameters by OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, two passes, one lane."""


def hash_password(password: str) -> str:
    """The argon2id hash of a password, as an encoded string (`$argon2id$…`)."""
    return _HASHER.hash(password)


def main() -> None:
    """Answer requests until the end of the input."""
    os.nice(NICENESS)
    patient = _Patient(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600) if len(sys.argv) > 1 else None)
    commands: dict[str, Callable[..., str | bool]] = {"hash": hash_password, "verify": _verify}
    for line in sys.stdin.buffer:
        command, *arguments = json.loads(line)
        answer = patient.run(lambda: commands[command](*arguments))  # noqa: B023 - it is called before the next line
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    os._exit(0)  # do not wait for a hash in the other thread, which nobody needs any more


class _Patient:
    """Runs functions on idle processor time, one at a time among all processes with the lock. One that takes too long
    so is run at the process's own low priority, without the lock. `lock` is a file descriptor; None: no lock."""

    def __init__(self, lock: int | None) -> None:
        self._lock = lock
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=_give_way)
        self._last: Future[str | bool] | None = None

    def run(self, do: Callable[[], str | bool]) -> str | bool:
        """Run a function, and return its result. If it takes longer than `PATIENCE_SECONDS` in the idle thread, it is
        started again in this thread, as the idle thread's priority cannot be raised."""
        if self._last is None or self._last.done():
            self._last = self._thread.submit(self._in_turn, do)
            try:
                return self._last.result(PATIENCE_SECONDS)
            except TimeoutError:
                pass
        return do()

    def _in_turn(self, do: Callable[[], str | bool]) -> str | bool:
        if self._lock is None:
            return do()
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            return do()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _verify(password: str, password_hash: str | None) -> bool:
    try:
        return _HASHER.verify(password_hash or NOBODYS_HASH, password) and bool(password_hash)
    except (VerificationError, InvalidHashError) as error:
        if str(error) == NO_MEMORY:  # nobody knows whether it is right: this process ends, and the call fails
            raise
        return False


def _give_way() -> None:
    """Have this thread run only when a processor has nothing else to do (sched(7), SCHED_IDLE)."""
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    main()
