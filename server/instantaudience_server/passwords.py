"""Password hashing: argon2id with the library's defaults (RFC 9106, low memory), off the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """Hashes and checks passwords, one at a time, so that sign-ins cannot take the processor away from calls."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="argon2")
        # Checked for unknown names, so that they take as long as known ones.
        self._nobody = self._hasher.hash("nobody's")

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password belongs to the hash; takes as long without a hash, and is False then."""
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._thread, self._verify, password_hash or self._nobody, password)
        return matches and bool(password_hash)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def hash_password(password: str) -> str:
    """The argon2id hash of a password, in argon2's own format."""
    return PasswordHasher().hash(password)
