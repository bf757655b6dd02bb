"""The process that hashes a worker's passwords: `python -m instantaudience_server.hasher` (see `passwords`).

A line on standard input is a JSON list: `["hash", password]`, or `["verify", password, hash]` with null for no hash.
Its answer is a line with a hash, or with true or false. The end of the input ends the process.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

NICENESS = 5
"""As nice(1) has it: against another that wants the same processor, it gets a third of its time. With the lowest, 19,
nobody could sign in while a machine is busy (docs/adr/0012-accounts.md)."""
NOBODYS_HASH = "$argon2id$v=19$m=65536,t=3,p=4$XOM6Q9nICuWMSZlmCDBb4Q$5v1rMW6pZUUG9pugRQ8Z/ZpjR2AsqPuChPgOaRq5kG0"
"""Of a password that nobody knows, with the parameters of all others. It is checked for unknown names, so that they
take as long as known ones."""

_HASHER = PasswordHasher()


def hash_password(password: str) -> str:
    """The argon2id hash of a password, in argon2's own format, with the library's defaults (RFC 9106, low memory)."""
    return _HASHER.hash(password)


def main() -> None:
    """Answer until nobody asks any more."""
    _give_way()
    commands: dict[str, Callable[..., str | bool]] = {"hash": hash_password, "verify": _verify}
    for line in sys.stdin.buffer:
        command, *arguments = json.loads(line)
        sys.stdout.write(f"{json.dumps(commands[command](*arguments))}\n")
        sys.stdout.flush()


def _verify(password: str, password_hash: str | None) -> bool:
    try:
        return _HASHER.verify(password_hash or NOBODYS_HASH, password) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False


def _give_way() -> None:
    """Let everything else run first: argon2's lanes are threads that inherit the priority.

    Linux may weigh whole sessions against each other before it looks at priorities (sched(7), "The autogroup feature"):
    this process leads a session of its own, which gets that weight, too.
    """
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))


if __name__ == "__main__":
    main()
