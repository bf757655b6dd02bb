"""Public keys: what is taken for one, whose they are, and how many (catalog.proto, PublicKey)."""

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.accounts.public_keys import MOST_KEYS, PublicKeyService, active_key
from instantaudience_server.errors import Reason
from instantaudience_server.store.interfaces.catalog import Kind
from instantaudience_server.store.interfaces.quotas import Quota
from support.clocks import FakeClock
from support.credentials.key_pairs import long_pem, private_pem, public_pem, slow_pem
from support.parts.accounts import AccountWorker, refused
from support.parts.callers import caller
from support.parts.quotas import Windows
from support.waiting import seconds_from_now

DEMO, OTHER = 1001, 1003
REFUSED = {
    "short RSA": (public_pem("RSA 1024"), "2048"),
    "long RSA": (long_pem(), "8192"),
    "an exponent without end": (slow_pem(), "65537"),
    "another curve": (public_pem("P-384"), "P-256"),
    "another algorithm": (public_pem("Ed25519"), "P-256"),
    "a private key": (private_pem("ES256"), "private"),
    "two keys, of which one alone would count": (public_pem("ES256") + public_pem("RS256"), "alone"),
    "no PEM": ("MIIB", "PEM"),
    "PEM of nothing": ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM"),
    "none": ("", "PEM"),
    "far too long": (public_pem("ES256") + " " * 4096, "4096"),
}


@pytest.fixture
def windows() -> Windows:
    return Windows()


@pytest.fixture
async def keys(worker: AccountWorker, clock: FakeClock, windows: Windows) -> PublicKeyService:
    return PublicKeyService(worker.editor, worker.store, Quotas(windows), clock)


@pytest.mark.parametrize("kind", ["RS256", "ES256"])
async def test_a_key_is_kept_as_it_came(
    worker: AccountWorker, keys: PublicKeyService, clock: FakeClock, windows: Windows, kind: str
) -> None:
    demo = caller("demo", worker.catalog)
    added = await keys.add(0, "pods", public_pem(kind), demo, seconds_from_now())
    assert (added.id, added.name, added.pem, added.active) == (1, "pods", public_pem(kind), True)
    assert added.create_time.ToSeconds() == clock.ms // 1000
    assert await keys.list(DEMO, demo, seconds_from_now()) == [added]
    assert windows.of(demo.member.id, Quota.GETS, 0) == [1], "it counts as a GET"


@pytest.mark.parametrize(("pem", "word"), REFUSED.values(), ids=REFUSED)
async def test_what_is_no_key_to_sign_in_with(
    worker: AccountWorker, keys: PublicKeyService, pem: str, word: str
) -> None:
    demo = caller("demo", worker.catalog)
    error = await refused(keys.add(0, "pods", pem, demo, seconds_from_now()), Reason.SYNTAX)
    assert word in error.message
    assert not pem or pem.strip() not in error.message


def test_one_that_is_slow_to_check_counts_no_more() -> None:
    """Older versions took such keys."""
    pems = {"usual": public_pem("RS256"), "slow": slow_pem()}
    user = pb.User(public_keys=[pb.PublicKey(name=name, pem=pem, active=True) for name, pem in pems.items()])
    assert active_key(user, "usual") is not None
    assert active_key(user, "slow") is None


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb"])
async def test_names(worker: AccountWorker, keys: PublicKeyService, name: str) -> None:
    demo = caller("demo", worker.catalog)
    await refused(keys.add(0, name, public_pem("ES256"), demo, seconds_from_now()), Reason.SYNTAX)


async def test_one_name_has_one_active_key(worker: AccountWorker, keys: PublicKeyService) -> None:
    demo, pem = caller("demo", worker.catalog), public_pem("ES256")
    first = await keys.add(0, "pods", pem, demo, seconds_from_now())
    await refused(keys.add(0, "pods", pem, demo, seconds_from_now()), Reason.INTEGRITY)
    for active in (True, False):
        assert (await keys.set_active(0, first.id, active, demo, seconds_from_now())).active == active
    second = await keys.add(0, "pods", pem, demo, seconds_from_now())
    assert not (await keys.set_active(0, first.id, False, demo, seconds_from_now())).active, "as it was"
    await refused(keys.set_active(0, first.id, True, demo, seconds_from_now()), Reason.INTEGRITY)
    await keys.set_active(0, second.id, False, demo, seconds_from_now())
    assert (await keys.set_active(0, first.id, True, demo, seconds_from_now())).active
    assert [(key.id, key.active) for key in await keys.list(0, demo, seconds_from_now())] == [(1, True), (2, False)]
    await refused(keys.set_active(0, 9, True, demo, seconds_from_now()), Reason.NOT_FOUND)


async def test_others_keys_need_the_role(worker: AccountWorker, keys: PublicKeyService) -> None:
    demo, admin, pem = caller("demo", worker.catalog), caller("admin", worker.catalog), public_pem("ES256")
    for call in (
        keys.add(OTHER, "pods", pem, demo, seconds_from_now()),
        keys.list(OTHER, demo, seconds_from_now()),
        keys.set_active(OTHER, 1, False, demo, seconds_from_now()),
    ):
        await refused(call, Reason.UNAUTH)
    added = await keys.add(OTHER, "pods", pem, admin, seconds_from_now())
    assert await keys.list(OTHER, admin, seconds_from_now()) == [added]
    assert await keys.list(0, admin, seconds_from_now()) == []
    await refused(keys.list(9999, admin, seconds_from_now()), Reason.NOT_FOUND)
    await refused(keys.add(9999, "pods", pem, admin, seconds_from_now()), Reason.NOT_FOUND)


async def test_a_further_one_takes_the_place_of_one_that_is_not_active(
    worker: AccountWorker, keys: PublicKeyService
) -> None:
    demo, pem = caller("demo", worker.catalog), public_pem("ES256")
    for number in range(MOST_KEYS):
        await keys.add(0, f"key {number}", pem, demo, seconds_from_now())
    await refused(keys.add(0, "more", pem, demo, seconds_from_now()), Reason.IN_USE)
    for key_id in (7, 4):
        await keys.set_active(0, key_id, False, demo, seconds_from_now())
    assert (await keys.add(0, "more", pem, demo, seconds_from_now())).id == MOST_KEYS + 1
    assert (await keys.add(0, "even more", pem, demo, seconds_from_now())).id == MOST_KEYS + 2
    assert {4, 7}.isdisjoint(key.id for key in await keys.list(0, demo, seconds_from_now()))


async def test_a_change_of_the_user_leaves_them_alone(worker: AccountWorker, keys: PublicKeyService) -> None:
    demo = caller("demo", worker.catalog)
    await keys.add(0, "pods", public_pem("ES256"), demo, seconds_from_now())
    await worker.change_user(DEMO, username="renamed")
    assert [key.name for key in await keys.list(0, demo, seconds_from_now())] == ["pods"]
    await worker.editor.delete(Kind.USER, DEMO, "", seconds_from_now())
    await refused(keys.list(0, demo, seconds_from_now()), Reason.NOT_FOUND)
