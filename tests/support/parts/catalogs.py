"""Workers that share a real cluster's catalog, and objects in it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.accounts.accounts import AccountService
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.files.importing import ImportService
from instantaudience_server.catalog.records import Object
from instantaudience_server.catalog.service import CatalogService
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.passwords.guesses import Guesses
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.guess_store import ClusterGuessStore
from instantaudience_server.store.interfaces.catalog import Kind, Outcome, Write
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore

from support.clocks import FakeClock
from support.parts.callers import caller, quick_hash
from support.waiting import seconds_from_now

METHODS = pb.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name
OWN, OTHER, LIMITED = 1, 2, 3
NOW_S = 1_700_000_000
PASSWORD = "Some-Passw0rd!"
NAMES = ("name", "username", "code")
"""Fields by which tests identify objects."""


class CatalogWorker:
    """The part of a worker that handles the catalog. It reads others' changes only when it has to."""

    def __init__(self, cluster: Cluster, clock: FakeClock, passwords: Passwords) -> None:
        self.store = ClusterCatalogStore(cluster)
        self.feed = CatalogFeed(self.store, Catalog())
        self.editor = CatalogEditor(self.store, self.feed, clock)
        self.quotas = Quotas(ClusterQuotaStore(cluster, secrets.token_hex()))
        guesses = Guesses(ClusterGuessStore(cluster), secrets.token_hex)
        self.accounts = AccountService(self.editor, self.store, passwords, guesses)
        self.sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
        self.service = CatalogService(self.store, self.feed, self.editor, self.accounts, self.quotas, self.sizes)
        self.importing = ImportService(self.store, self.feed, passwords, clock)

    async def call(self, rpc: str, username: str = "admin", **fields: Any) -> Any:
        """Call an RPC by its name in catalog.proto."""
        request = GetMessageClass(METHODS[rpc].input_type)(**fields)
        method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in rpc)[1:]
        service = self.service if hasattr(self.service, method) else self.accounts
        return await getattr(service, method)(request, self._caller(username), seconds_from_now())

    async def refusal(self, rpc: str, username: str = "admin", **fields: Any) -> AudienceError:
        """Call an RPC, which must fail; returns the error."""
        with pytest.raises(AudienceError) as error:
            await self.call(rpc, username, **fields)
        return error.value

    async def put(self, username: str = "admin", **fields: Any) -> pb.ImportCatalogResponse:
        """Import objects."""
        request = pb.ImportCatalogRequest(**fields)
        return await self.importing.put(request, self._caller(username), seconds_from_now())

    async def stored(self, kind: Kind, object_id: int) -> Any:
        """The object in the cluster; None if there is none."""
        (data,) = await self.store.find(kind, [object_id], seconds_from_now())
        return None if data is None else catalog_records.decode(kind, data)

    async def version(self) -> Any:
        """The version of the catalog in the cluster."""
        return await self.store.version(seconds_from_now())

    def _caller(self, username: str) -> Any:
        return caller(username, self.feed.catalog)


BEGINNING: tuple[Object, ...] = (
    pb.Member(id=OWN, name="Own"),
    pb.Member(id=OTHER, name="Other"),
    pb.User(id=1, username="admin", member_id=OTHER, role=pb.ROLE_ADMIN),
    pb.User(id=2, username="own", member_id=OWN),
    pb.User(id=3, username="other", member_id=OTHER),
)
"""The initial objects; everyone's password is the user name."""
WITH_LIMITED: tuple[Object, ...] = (
    *BEGINNING,
    pb.Member(id=LIMITED, name="Limited", limits=pb.Limits(gets_per_second=1)),
    pb.User(id=4, username="limited", member_id=LIMITED),
)
"""The same, with a member that may read once per second."""


@asynccontextmanager
async def catalog_worker(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[CatalogWorker]:
    """A worker that has read the current catalog."""
    worker = CatalogWorker(cluster, clock, passwords)
    await worker.feed.load()
    yield worker
    await worker.sizes.close()
    await worker.quotas.close()


async def begin(worker: CatalogWorker) -> None:
    """Write `BEGINNING` to an empty catalog."""
    for message in BEGINNING:
        password_hash = quick_hash(message.username) if isinstance(message, pb.User) else None
        await worker.editor.create(message, seconds_from_now(), password_hash)


def before_writing(
    worker: CatalogWorker, monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[Any]]
) -> None:
    """Make a change between a worker's read and its write, the first time."""
    write = worker.store.write

    async def change_and_write(writes: Sequence[Write], deadline: float) -> list[Outcome]:
        if writes:
            monkeypatch.setattr(worker.store, "write", write)
            await change()
        return await write(writes, deadline)

    monkeypatch.setattr(worker.store, "write", change_and_write)


@pytest.fixture
async def worker(cluster: Cluster, clock: FakeClock, passwords: Passwords) -> AsyncIterator[CatalogWorker]:
    """A worker of a catalog with two members with one user each, and an admin."""
    clock.ms = NOW_S * 1000 + 999
    async with catalog_worker(cluster, clock, passwords) as running:
        await begin(running)
        yield running


@pytest.fixture
async def another(
    worker: CatalogWorker, cluster: Cluster, clock: FakeClock, passwords: Passwords
) -> AsyncIterator[CatalogWorker]:
    """Another worker of the same catalog."""
    async with catalog_worker(cluster, clock, passwords) as running:
        yield running


async def new_segment(worker: CatalogWorker, member_id: int = OWN, **fields: Any) -> pb.Segment:
    """Create a segment."""
    answer = await worker.call("CreateSegment", segment={"member_id": member_id, **fields})
    segment: pb.Segment = answer.segment
    return segment


def mask(*paths: str) -> dict[str, Any]:
    """An `update_mask` with these paths."""
    return {"paths": paths}


def said(error: AudienceError) -> tuple[Reason, str, str | None]:
    """The parts of an error that callers get."""
    return error.reason, error.message, error.metadata.get("field")


def without_etag(message: Any) -> Any:
    """A copy without `etag`, which every response has."""
    assert message.etag
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField("etag")
    return copy


def page_of(answer: Message) -> tuple[list[Any], str]:
    """The IDs in a list response, and the next page's token."""
    (objects, *rest) = [value for _, value in answer.ListFields()] or [[], ""]
    return [each.id for each in objects], rest[0] if rest else ""


async def pages_of(worker: CatalogWorker, rpc: str, **fields: Any) -> list[list[Any]]:
    """The IDs of all pages of a list, from the first one to the last."""
    pages, token = [], ""
    while True:
        ids, token = page_of(await worker.call(rpc, **fields, page_token=token))
        pages.append(ids)
        if not token:
            return pages
