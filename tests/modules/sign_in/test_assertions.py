"""Signing in by a JWT (contract's neighbours, section 1; RFC 7519)."""

import base64
import hashlib
import hmac
import json
import math
from typing import Any

import pytest
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.accounts.public_keys import PublicKeyService
from instantaudience_server.errors import Reason
from jwt import get_algorithm_by_name
from support.clocks import FakeClock
from support.credentials.key_pairs import key_pair, public_pem, signed
from support.parts.accounts import AccountWorker, refused
from support.parts.callers import caller
from support.parts.quotas import Windows
from support.waiting import seconds_from_now

KINDS = ("RS256", "ES256")


@pytest.fixture
async def keys(worker: AccountWorker, clock: FakeClock) -> PublicKeyService:
    """The user `demo` has a key of each kind, named like it."""
    keys = PublicKeyService(worker.editor, worker.store, Quotas(Windows()), clock)
    for kind in KINDS:
        await keys.add(0, kind, public_pem(kind), caller("demo", worker.catalog), seconds_from_now())
    return keys


async def sign_in(worker: AccountWorker, jwt: str) -> str:
    return (await worker.signing_in.by_jwt(jwt, seconds_from_now())).token


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("keys")
async def test_a_token_at_every_worker_any_number_of_times(
    worker: AccountWorker, another: AccountWorker, clock: FakeClock, kind: str
) -> None:
    """This worker's catalog need not know the key yet."""
    jwt = signed(kind, clock.ms / 1000, key_name=kind)
    tokens = [await sign_in(each, jwt) for _ in range(8) for each in (another, worker)]
    assert len(set(tokens)) == len(tokens)
    assert (await another.verify(tokens[-1])).account.username == "demo"


@pytest.mark.parametrize(
    ("claims", "taken"),
    [
        ({"iat": -299}, True),
        ({"iat": 299}, True),
        ({"iat": -300}, True),
        ({"iat": 300}, True),
        ({"iat": -301}, False),
        ({"iat": 301}, False),
        ({"iat": None}, False),
        ({"exp": 1}, True),
        ({"exp": 0}, False),
        ({"exp": -1}, False),
        ({"exp": 10**9}, True),
        ({"iat": -400, "exp": 400}, False),
        ({"nbf": -1}, True),
        ({"nbf": 0}, True),
        ({"nbf": 60}, False),
        ({"nbf": True}, False),
        ({"iat": math.nan}, False),
        ({"exp": math.nan}, False),
        ({"exp": math.inf}, False),
        ({"nbf": math.nan}, False),
        ({"exp": 10**400}, False),
        ({"aud": "somebody else", "iss": "me", "jti": "7"}, True),
    ],
)
@pytest.mark.usefixtures("keys")
async def test_times(worker: AccountWorker, clock: FakeClock, claims: dict[str, Any], taken: bool) -> None:
    clock.ms -= clock.ms % 1000
    now = clock.ms / 1000
    for name in {"iat", "exp", "nbf"} & claims.keys():
        if not isinstance(claims[name], bool | None):
            added = int(now) if isinstance(claims[name], int) else now
            claims = claims | {name: added + claims[name]}
    jwt = signed("ES256", now, key_name="ES256", **claims)
    if taken:
        await sign_in(worker, jwt)
    else:
        await refused(sign_in(worker, jwt), Reason.NOAUTH)


def put_together(header: dict[str, Any], claims: dict[str, Any], sign: Any = lambda _: b"") -> str:
    """A JWT that no library makes."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = base64.urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


@pytest.mark.usefixtures("keys")
async def test_what_fits_no_key_looks_the_same(worker: AccountWorker, clock: FakeClock) -> None:
    now = clock.ms / 1000
    claims = {"sub": "demo", "iat": now}
    by_public_key = lambda data: hmac.digest(public_pem("RS256").encode(), data, hashlib.sha256)  # noqa: E731
    header, _, signature = (good := signed("RS256", now, key_name="RS256")).split(".")
    _, other_claims, _ = signed("RS256", now, username="admin", key_name="RS256").split(".")
    errors = [
        await refused(sign_in(worker, jwt), Reason.NOAUTH)
        for jwt in (
            signed("ES256#another", now, key_name="ES256"),
            signed("ES256", now, key_name="RS256"),
            signed("RS256", now, key_name="unknown"),
            signed("RS256", now, username="nobody", key_name="RS256"),
            signed("RS256", now, username="private", key_name="RS256"),
            signed("RS256", now, username="Demo", key_name="RS256"),
            f"{header}.{other_claims}.{signature}",
            good[:-4] + "AAAA",
            put_together({"alg": "none", "kid": "RS256"}, claims),
            put_together({"alg": "HS256", "kid": "RS256"}, claims, by_public_key),
            put_together({"alg": "RS256"}, claims),
            put_together({"alg": "RS256", "kid": "RS256"}, {"iat": now}),
            put_together({"alg": "RS256", "kid": "RS256"}, claims | {"sub": "\ud800"}),
            put_together({"alg": "RS256", "kid": "\ud800"}, claims),
            put_together(
                # What a reader must understand (RFC 7515, section 4.1.11), which the library does of this one.
                {"alg": "RS256", "kid": "RS256", "crit": ["b64"], "b64": True},
                claims,
                lambda data: get_algorithm_by_name("RS256").sign(data, key_pair("RS256")),
            ),
        )
    ]
    assert len({error.message for error in errors}) == 1
    assert errors[0].member_id == 123  # the failure counts as its user's member's


DEEP = f"e30.{base64.urlsafe_b64encode(b'[' * 6000).decode()}.AA"


@pytest.mark.parametrize("jwt", ["", "x", "a.b", "a.b.c", "..", "x" * 9000, "e30.e30", "e30.W10.AA", DEEP])
async def test_what_is_no_jwt(worker: AccountWorker, jwt: str) -> None:
    error = await refused(sign_in(worker, jwt), Reason.SYNTAX)
    assert len(jwt) < 3 or jwt not in error.message


async def test_a_key_or_a_user_that_is_deactivated_signs_in_no_more(
    worker: AccountWorker, another: AccountWorker, clock: FakeClock, keys: PublicKeyService
) -> None:
    """At once, on every worker."""
    jwts = {kind: signed(kind, clock.ms / 1000, key_name=kind) for kind in KINDS}
    await keys.set_active(0, 1, False, caller("demo", worker.catalog), seconds_from_now())
    await refused(sign_in(another, jwts["RS256"]), Reason.NOAUTH)
    await sign_in(another, jwts["ES256"])
    await worker.change_user(1001, deactivated=True)
    await refused(sign_in(another, jwts["ES256"]), Reason.NOAUTH_DISABLED)
    await refused(sign_in(another, jwts["RS256"]), Reason.NOAUTH)


@pytest.mark.usefixtures("keys")
async def test_guessed_passwords_lock_no_key_out(worker: AccountWorker, clock: FakeClock) -> None:
    for _ in range(10):
        await refused(worker.sign_in("demo", "wrong"), Reason.INVALID_LOGIN)
    await refused(worker.sign_in(), Reason.RATE_LIMIT_EXCEEDED)
    for _ in range(11):
        await refused(sign_in(worker, signed("ES256#another", clock.ms / 1000, key_name="ES256")), Reason.NOAUTH)
    await sign_in(worker, signed("ES256", clock.ms / 1000, key_name="ES256"))
