from collections.abc import Iterator

import pytest
from instantaudience_server.passwords import Passwords, hash_password
from support.callers import quick_hash


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.mark.parametrize("password", ["secret", "", "ü日本😀", "a" * 1000])
async def test_a_password_matches_its_hash_and_no_other(passwords: Passwords, password: str) -> None:
    hashed = quick_hash(password)
    assert await passwords.matches(password, hashed)
    assert not await passwords.matches(password + "x", hashed)
    assert not await passwords.matches(password, quick_hash(password + "x"))


@pytest.mark.parametrize("password_hash", [None, "", "secret", "$argon2id$broken", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
async def test_nothing_matches_what_is_no_hash(passwords: Passwords, password_hash: str | None) -> None:
    for password in ("secret", "nobody's", ""):
        assert not await passwords.matches(password, password_hash)


def test_hashes_are_argon2id_with_a_salt() -> None:
    first, second = hash_password("secret"), hash_password("secret")
    assert first.startswith("$argon2id$")
    assert first != second
    assert "secret" not in first
