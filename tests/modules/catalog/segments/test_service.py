"""Segments as REST callers see them (source: contract, "/segment")."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from instantaudience.rest.v1 import segment_pb2 as pb
from instantaudience.v1 import catalog_pb2
from instantaudience_server import segment_sizes
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.segments.service import SegmentService
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Kind
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.keys import segment_size_key
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.segment_size_store import MS_PER_WEEK, ClusterSegmentSizeStore
from instantaudience_server.store.sizes.hyperloglog import REGISTERS
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.cluster.nodes import on_all_nodes
from support.cluster.users import for_each
from support.parts.callers import caller
from support.parts.catalogs import OTHER, OWN, WITH_LIMITED
from support.waiting import eventually, seconds_from_now

OBJECTS = (
    *WITH_LIMITED,
    catalog_pb2.Segment(id=10, member_id=OWN, code="fans", short_name="Sports fans", expire_minutes=5),
    catalog_pb2.Segment(id=11, member_id=OWN, short_name="Cars", description="of all colours"),
    catalog_pb2.Segment(id=12, member_id=OWN, code="Idle", state=catalog_pb2.SEGMENT_STATE_INACTIVE),
    catalog_pb2.Segment(id=20, member_id=OTHER, code="fans", short_name="Their fans"),
)
LAST_MODIFIED = "2023-11-14 22:13:20"


def as_dict(result: pb.SegmentResult) -> dict[str, Any]:
    """An answer as REST callers see it."""
    return MessageToDict(result, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


REQUESTS: dict[str, type[Message]] = {
    "add": pb.AddSegmentRequest,
    "find": pb.FindSegmentsRequest,
    "change": pb.ChangeSegmentRequest,
    "remove": pb.RemoveSegmentRequest,
}


class Worker(NamedTuple):
    """A worker's part of the service."""

    catalog: Catalog
    segments: SegmentService
    editor: CatalogEditor
    sizes: SegmentSizes

    async def call(self, method: str, username: str, **request: Any) -> dict[str, Any]:
        """Call a method, and take the answer as REST callers see it.

        The sizes that `find` tells beside it, and nothing else does, are left out when nobody is in a segment.
        """
        run = getattr(self.segments, method)
        message = REQUESTS[method]()
        ParseDict(request, message)
        result = await run(message, caller(username, self.catalog), seconds_from_now())
        answer = as_dict(result)
        for segment in answer.get("segments", [answer["segment"]] if "segment" in answer else []):
            assert ("estimated_users" in segment) == (method == "find" and "fields" not in request)
            if segment.get("estimated_users") == 0:
                del segment["estimated_users"]
        return answer

    async def refusal(self, method: str, username: str, **request: Any) -> AudienceError:
        """Call a method that must fail."""
        with pytest.raises(AudienceError) as caught:
            await self.call(method, username, **request)
        return caught.value


@asynccontextmanager
async def running_worker(cluster: Cluster, clock: FakeClock) -> AsyncIterator[Worker]:
    """A worker that takes over changes when it must, and never by itself."""
    store, catalog = ClusterCatalogStore(cluster), Catalog()
    feed = CatalogFeed(store, catalog)
    await feed.load()
    editor, quotas = CatalogEditor(store, feed, clock), Quotas(ClusterQuotaStore(cluster, secrets.token_hex()))
    sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)
    yield Worker(catalog, SegmentService(editor, feed, quotas, sizes), editor, sizes)
    await sizes.close()
    await quotas.close()


@pytest.fixture
async def worker(cluster: Cluster, clock: FakeClock) -> AsyncIterator[Worker]:
    """On a cluster that holds `OBJECTS`."""
    clock.ms = 1_700_000_000_999
    async with running_worker(cluster, clock) as running:
        for message in OBJECTS:
            password_hash = "hash" if isinstance(message, catalog_pb2.User) else None
            await running.editor.create(message, seconds_from_now(), password_hash)
        yield running


@pytest.fixture
async def neighbour(worker: Worker, cluster: Cluster, clock: FakeClock) -> AsyncIterator[Worker]:
    """Another worker, which knows `OBJECTS`."""
    async with running_worker(cluster, clock) as running:
        yield running


def entry(segment_id: int, member_id: int = OWN, **fields: Any) -> dict[str, Any]:
    """A segment as answers have it."""
    unset = dict.fromkeys(("code", "description", "expire_minutes"))
    rest = {"state": "active", "short_name": "", **unset, "last_modified": LAST_MODIFIED}
    return {"id": segment_id, "member_id": member_id, **rest, **fields}


FANS = entry(10, code="fans", short_name="Sports fans", expire_minutes=5)
CARS = entry(11, short_name="Cars", description="of all colours")
IDLE = entry(12, code="Idle", state="inactive")
THEIRS = entry(20, OTHER, code="fans", short_name="Their fans")


def about(segment: dict[str, Any]) -> dict[str, Any]:
    """The answer about one segment."""
    return {
        "status": "OK",
        "id": segment["id"],
        "count": 1,
        "start_element": 0,
        "num_elements": 100,
        "segment": segment,
        "dbg_info": {"output_term": "segment"},
    }


def page(*segments: dict[str, Any], count: int | None = None, start: int = 0, size: int = 100) -> dict[str, Any]:
    """The answer that lists segments."""
    count = len(segments) if count is None else count
    return {
        "status": "OK",
        "count": count,
        "start_element": start,
        "num_elements": size,
        "segments": list(segments),
        "dbg_info": {"output_term": "segments"},
    }


async def test_add(worker: Worker) -> None:
    fields = {"code": "new", "short_name": "n" * 255, "description": "d" * 500, "state": "inactive"}
    answer = await worker.call("add", "own", segment={**fields, "expire_minutes": 2**31 - 1})
    assert answer == about(entry(answer["id"], **fields, expire_minutes=2**31 - 1))
    assert answer["id"] not in {10, 11, 12, 20}
    assert await worker.call("find", "own", id=str(answer["id"])) == answer


async def test_what_is_not_said_is_empty(worker: Worker) -> None:
    answer = await worker.call("add", "own", segment={})
    assert answer == about(entry(answer["id"]))
    coded = await worker.call("add", "own", segment={"code": ""})
    assert coded == about(entry(coded["id"]))


async def test_whose_a_new_segment_is(worker: Worker) -> None:
    for username, member_id, expected in (("own", OWN, OWN), ("admin", OWN, OWN), ("admin", None, OTHER)):
        request = {} if member_id is None else {"member_id": member_id}
        answer = await worker.call("add", username, segment={}, **request)
        assert answer["segment"]["member_id"] == expected


async def test_a_segment_can_take_users_when_it_was_added(worker: Worker) -> None:
    answer = await worker.call("add", "own", segment={"code": "new"})
    known = worker.catalog.segment(answer["id"])
    assert known is not None
    assert known.active
    assert known is worker.catalog.segment_by_code(OWN, "new")


FOUND: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "nothing asked": ("own", {}, page(FANS, CARS, IDLE)),
    "nothing asked, by an admin": ("admin", {}, page(FANS, CARS, IDLE, THEIRS)),
    "an ID": ("own", {"id": "11"}, about(CARS)),
    "an ID, by an admin": ("admin", {"id": "10"}, about(FANS)),
    "an ID that fits the rest": ("own", {"id": "10", "code": "fans", "search": "SPORT"}, about(FANS)),
    "an ID, whatever the page": ("own", {"id": "10", "start_element": 5, "num_elements": 1}, about(FANS)),
    "IDs": ("own", {"id": "12,10"}, page(FANS, IDLE)),
    "IDs, some of nothing": ("own", {"id": "12,99,2147483647,10"}, page(FANS, IDLE)),
    "IDs of nothing": ("own", {"id": "98,99"}, page()),
    "an ID twice": ("own", {"id": "10,10"}, page(FANS)),
    "100 IDs": ("admin", {"id": ",".join(map(str, range(1, 101)))}, page(FANS, CARS, IDLE, THEIRS)),
    "IDs of several members, by an admin": ("admin", {"id": "20,10"}, page(FANS, THEIRS)),
    "a code": ("own", {"code": "Idle"}, about(IDLE)),
    "a code of another member too": ("own", {"code": "fans"}, about(FANS)),
    "a code of several members": ("admin", {"code": "fans"}, about(THEIRS)),
    "a code in a member": ("admin", {"code": "fans", "member_id": OWN}, about(FANS)),
    "a state": ("own", {"state": "inactive"}, page(IDLE)),
    "the other state": ("admin", {"state": "active", "search": "a"}, page(FANS, CARS, THEIRS)),
    "an ID to search for": ("admin", {"search": "20"}, page(THEIRS)),
    "a part of IDs to search for": ("admin", {"search": "0"}, page(FANS, THEIRS)),
    "changed since": ("own", {"min_last_modified": "2023-11-14 22:13:20"}, page(FANS, CARS, IDLE)),
    "changed since a day": ("own", {"min_last_modified": "2023-11-14"}, page(FANS, CARS, IDLE)),
    "changed since, as in a query that is not decoded": (
        "own",
        {"min_last_modified": "2023-11-14+22:13:20"},
        page(FANS, CARS, IDLE),
    ),
    "changed later": ("own", {"min_last_modified": "2023-11-14 22:13:21"}, page()),
    "in the other order": ("own", {"sort": "id.desc"}, page(IDLE, CARS, FANS)),
    "by code": ("own", {"sort": "code.asc"}, page(CARS, FANS, IDLE)),
    "by name": ("admin", {"sort": "short_name.asc", "search": "a"}, page(CARS, FANS, THEIRS)),
    "by state": ("own", {"sort": "state.desc"}, page(IDLE, CARS, FANS)),
    "by member": ("admin", {"sort": "member_id.desc", "num_elements": 2}, page(THEIRS, IDLE, count=4, size=2)),
    "by minutes": ("own", {"sort": "expire_minutes.desc", "num_elements": 1}, page(FANS, count=3, size=1)),
    "by time": ("own", {"sort": "last_modified.asc"}, page(FANS, CARS, IDLE)),
    "some fields": ("own", {"id": "10", "fields": "code,id"}, {**about(FANS), "segment": {"id": 10, "code": "fans"}}),
    "some fields of a list": ("own", {"fields": "state", "search": "cars"}, page({"state": "active"})),
    "too large a page": ("own", {"num_elements": 101}, page(FANS, CARS, IDLE)),
    "a part of a name, in any case": ("own", {"search": "rts FA"}, page(FANS)),
    "a part of a code, in any case": ("own", {"search": "IDL"}, page(IDLE)),
    "a part of a description": ("own", {"search": "colours"}, page()),
    "a part of everybody's": ("admin", {"search": "fans"}, page(FANS, THEIRS)),
    "own member": ("own", {"member_id": OWN}, page(FANS, CARS, IDLE)),
    "a member": ("admin", {"member_id": OWN, "search": "fans"}, page(FANS)),
    "no such member": ("admin", {"member_id": 99}, page()),
    "the first page": ("own", {"num_elements": 2}, page(FANS, CARS, count=3, size=2)),
    "the second page": ("own", {"start_element": 2, "num_elements": 2}, page(IDLE, count=3, start=2, size=2)),
    "past the last page": ("own", {"start_element": 2**31 - 1}, page(count=3, start=2**31 - 1)),
    "a page of IDs": (
        "own",
        {"id": "10,11,12", "num_elements": 1, "start_element": 1},
        page(CARS, count=3, start=1, size=1),
    ),
}


@pytest.mark.parametrize(("username", "request_fields", "expected"), FOUND.values(), ids=FOUND)
async def test_find(worker: Worker, username: str, request_fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert await worker.call("find", username, **request_fields) == expected


UNSET = ("code", "description", "expire_minutes")
CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "state": ({"state": "inactive"}, {"state": "inactive"}),
    "code": ({"code": "Fans"}, {"code": "Fans"}),
    "name": ({"short_name": "é" * 255}, {"short_name": "é" * 255}),
    "no name": ({"short_name": ""}, {"short_name": ""}),
    "description": ({"description": "d"}, {"description": "d"}),
    "expire_minutes": ({"expire_minutes": 0}, {"expire_minutes": 0}),
    "minutes as text": ({"expire_minutes": "+012"}, {"expire_minutes": 12}),
    "null": (dict.fromkeys(UNSET), dict.fromkeys(UNSET)),
    "an original field": ({"price": 1.5, "object_type": "x"}, {"price": 1.5, "object_type": "x"}),
    "what answers have": (
        {
            "code": "fans",
            "state": "active",
            "short_name": "Sports fans",
            "description": None,
            "category": None,
            "id": 5,
        },
        {},
    ),
}


@pytest.mark.parametrize(("fields", "difference"), CHANGED.values(), ids=CHANGED)
async def test_change(worker: Worker, clock: FakeClock, fields: dict[str, Any], difference: dict[str, Any]) -> None:
    clock.ms += 1000
    modified = {"last_modified": "2023-11-14 22:13:21"} if difference else {}
    expected = about({**FANS, **difference, **modified})
    assert await worker.call("change", "own", id=10, segment=fields) == expected
    assert await worker.call("find", "own", id="10") == expected


async def test_an_empty_code_takes_the_code_away(worker: Worker) -> None:
    answer = await worker.call("change", "own", id=10, segment={"code": ""})
    assert answer["segment"] == {**FANS, "code": None}
    assert (await worker.refusal("find", "own", code="fans")).reason is Reason.NOT_FOUND
    assert (await worker.call("add", "own", segment={"code": "FANS"}))["segment"]["code"] == "FANS"


async def test_remove(worker: Worker) -> None:
    answer = await worker.call("remove", "own", id=10)
    assert answer == {key: value for key, value in about({"id": 10}).items() if key != "segment"}
    assert (await worker.refusal("find", "own", id="10")).reason is Reason.NOT_FOUND
    assert (await worker.refusal("remove", "own", id=10)).reason is Reason.NOT_FOUND
    assert worker.catalog.segment(10) is None


async def test_whose_it_is_now_decides_who_may_remove_it(worker: Worker, neighbour: Worker) -> None:
    """This worker still takes the segment for its caller's own."""
    await neighbour.editor.delete(Kind.SEGMENT, 10, "", seconds_from_now())
    theirs = catalog_pb2.Segment(id=10, member_id=OTHER, code="ten")
    await neighbour.editor.create(theirs, seconds_from_now())
    assert (await worker.refusal("remove", "own", id=10)).reason is Reason.UNAUTH
    assert (await worker.refusal("change", "own", id=10, segment={"code": "x"})).reason is Reason.UNAUTH
    assert (await worker.call("find", "other", id="10"))["segment"]["code"] == "ten"


async def test_an_admin_may_do_everything(worker: Worker) -> None:
    answer = await worker.call("change", "admin", id=10, segment={"code": "x"})
    assert (answer["segment"]["code"], answer["segment"]["member_id"]) == ("x", OWN)
    assert (await worker.call("remove", "admin", id=10))["id"] == 10


async def test_what_another_worker_made_is_there(worker: Worker, neighbour: Worker) -> None:
    created = await worker.call("add", "own", segment={"code": "new"})
    assert await neighbour.call("find", "own", id=str(created["id"])) == created
    created = await worker.call("add", "own", segment={"code": "newer"})
    changed = await neighbour.call("change", "own", id=created["id"], segment={"code": "newest"})
    assert changed["segment"]["code"] == "newest"
    created = await worker.call("add", "own", segment={})
    assert (await neighbour.call("remove", "own", id=created["id"]))["id"] == created["id"]


async def test_what_another_worker_did_shows_at_once(worker: Worker, neighbour: Worker) -> None:
    """In the answers to all that can be asked, as the gRPC reads of the catalog show it."""
    renamed = (await worker.call("change", "own", id=11, segment={"short_name": "Vans"}))["segment"]
    assert await neighbour.call("find", "own", id="11") == about(renamed)
    await worker.call("remove", "own", id=10)
    assert (await neighbour.refusal("find", "own", id="10")).reason is Reason.NOT_FOUND
    created = (await worker.call("add", "own", segment={}))["segment"]
    assert await neighbour.call("find", "own") == page(renamed, IDLE, created)
    await worker.call("remove", "own", id=12)
    assert (await neighbour.refusal("find", "own", code="Idle")).reason is Reason.NOT_FOUND


async def test_what_another_worker_changed_stays(worker: Worker, neighbour: Worker) -> None:
    await worker.call("change", "own", id=10, segment={"short_name": "other"})
    answer = await neighbour.call("change", "own", id=10, segment={"description": "new"})
    assert answer["segment"] == {**FANS, "short_name": "other", "description": "new"}


MISSING, WRONG, TAKEN, DENIED = Reason.NOT_FOUND, Reason.SYNTAX, Reason.INTEGRITY, Reason.UNAUTH
REFUSED: dict[str, tuple[str, dict[str, Any], Reason, str]] = {
    "add: no segment": ("add", {}, WRONG, "segment"),
    "add: code in another case": ("add", {"segment": {"code": "FANS"}}, TAKEN, "code"),
    "add: code too long": ("add", {"segment": {"code": "c" * 51}}, WRONG, "code"),
    "add: name too long": ("add", {"segment": {"short_name": "n" * 256}}, WRONG, "short_name"),
    "add: description too long": ("add", {"segment": {"description": "d" * 501}}, WRONG, "description"),
    "add: unknown state": ("add", {"segment": {"state": "paused"}}, WRONG, "state"),
    "add: state in another case": ("add", {"segment": {"state": "Active"}}, WRONG, "state"),
    "add: empty state": ("add", {"segment": {"state": ""}}, WRONG, "state"),
    "add: no text": ("add", {"segment": {"description": ["d"]}}, WRONG, "description"),
    **{
        f"add: minutes {minutes!r}": ("add", {"segment": {"expire_minutes": minutes}}, WRONG, "expire_minutes")
        for minutes in (1.5, 2**31, "", "x", " 1", "1_0", "0x1", "12.0", "1.2e1", True, [1], {})
    },
    "add: too much beside": ("add", {"segment": {"category": "c" * 4096}}, WRONG, "category"),
    "add: another member, in the segment": ("add", {"segment": {"member_id": OTHER}}, DENIED, ""),
    "add: negative minutes": ("add", {"segment": {"expire_minutes": -1}}, WRONG, "expire_minutes"),
    "add: another member": ("add", {"segment": {}, "member_id": OTHER}, DENIED, ""),
    "add: no such member": ("add", {"segment": {}, "member_id": 99}, DENIED, ""),
    "find: no such segment": ("find", {"id": "99"}, MISSING, "id"),
    "find: one that does not fit": ("find", {"id": "10", "code": "other"}, MISSING, "id"),
    "find: another member's segment": ("find", {"id": "20"}, DENIED, ""),
    "find: another member's among others": ("find", {"id": "10,20"}, DENIED, ""),
    "find: another member": ("find", {"member_id": OTHER}, DENIED, ""),
    **{
        f"find: IDs {text!r}": ("find", {"id": text}, WRONG, "id")
        for text in ("x", "0", "-1", "1.5", "1,", ",1", "1,,2", "1, 2", "2147483648", "\u0661")
    },
    "find: too many IDs": ("find", {"id": ",".join(["1"] * 101)}, WRONG, "id"),
    "find: an empty page": ("find", {"num_elements": 0}, WRONG, "num_elements"),
    "find: no such code": ("find", {"code": "idle"}, MISSING, "code"),
    "find: another member's code": ("find", {"code": "fans", "member_id": OTHER}, DENIED, ""),
    "find: unknown state": ("find", {"state": "paused"}, WRONG, "state"),
    **{
        f"find: sort {text}": ("find", {"sort": text}, WRONG, "sort")
        for text in ("id", "id.up", ".asc", "description.asc", "record.asc", "id.asc,code.asc")
    },
    **{
        f"find: no time: {text}": ("find", {"min_last_modified": text}, WRONG, "min_last_modified")
        for text in (
            *(
                "yesterday",
                "20231114",
                "2023-W46-2",
                "2023-11-31",
                "2023-11-31 00:00:00",
                "0000-01-01",
                "2023-11-14 22:13",
            ),
            *("2023-11-14T22:13:20", "2023-11-14 22:13:20Z", "2023-11-14 22:13:20+01:00", "2023-11-14 22:13:20.5"),
        )
    },
    "find: unknown fields": ("find", {"fields": "id,etag"}, WRONG, "fields"),
    "find: a negative page": ("find", {"num_elements": -1}, WRONG, "num_elements"),
    "find: before the first": ("find", {"start_element": -1}, WRONG, "start_element"),
    "change: no ID": ("change", {"segment": {}}, WRONG, "id"),
    "change: an ID that cannot be": ("change", {"id": 0, "segment": {}}, WRONG, "id"),
    "change: no such code": ("change", {"code": "other", "segment": {}}, MISSING, "code"),
    "change: another member's code": ("change", {"code": "fans", "member_id": OTHER, "segment": {}}, DENIED, ""),
    "change: another member, of a segment of one's own": (
        "change",
        {"id": 10, "member_id": OTHER, "segment": {}},
        DENIED,
        "",
    ),
    "change: another member, in the segment": ("change", {"id": 10, "segment": {"member_id": OTHER}}, DENIED, ""),
    "change: no segment": ("change", {"id": 10}, WRONG, "segment"),
    "change: no such segment": ("change", {"id": 99, "segment": {"code": "x"}}, MISSING, "id"),
    "change: another member's segment": ("change", {"id": 20, "segment": {"code": "x"}}, DENIED, ""),
    "change: code in another case": ("change", {"id": 10, "segment": {"code": "iDLE"}}, TAKEN, "code"),
    "change: code too long": ("change", {"id": 10, "segment": {"code": "c" * 51}}, WRONG, "code"),
    "change: unknown state": ("change", {"id": 10, "segment": {"state": "gone", "code": "x"}}, WRONG, "state"),
    "remove: no ID": ("remove", {}, WRONG, "id"),
    "remove: an ID that cannot be": ("remove", {"id": -1}, WRONG, "id"),
    "remove: another member, of a segment of one's own": ("remove", {"id": 10, "member_id": OTHER}, DENIED, ""),
    "remove: no such code": ("remove", {"code": "other"}, MISSING, "code"),
    "remove: no such segment": ("remove", {"id": 99}, MISSING, "id"),
    "remove: another member's segment": ("remove", {"id": 20}, DENIED, ""),
}


@pytest.mark.parametrize(("method", "request_fields", "reason", "field"), REFUSED.values(), ids=REFUSED)
async def test_refused(worker: Worker, method: str, request_fields: dict[str, Any], reason: Reason, field: str) -> None:
    """Nothing changes, and the text names the field."""
    error = await worker.refusal(method, "own", **request_fields)
    assert (error.reason, error.metadata.get("field", "")) == (reason, field)
    assert field in error.message
    assert await worker.call("find", "admin") == page(FANS, CARS, IDLE, THEIRS)


async def test_no_such_member_for_an_admin(worker: Worker) -> None:
    error = await worker.refusal("add", "admin", segment={}, member_id=99)
    assert (error.reason, error.metadata) == (Reason.NOT_FOUND, {"field": "member_id"})


async def test_sizes_are_told_of_every_segment(worker: Worker, neighbour: Worker, clock: FakeClock) -> None:
    """Of one, and of a page."""
    clock.ms = FakeClock.real().ms  # the cluster's, which does not keep the sizes of years ago
    worker.sizes.note(for_each([b"m:p:%d" % user_id for user_id in range(1, 4)], {NEVER: {10: 1, 20: 1}}))
    worker.sizes.note(for_each([b"m:p:5"], {NEVER: {10: 1}}))

    async def is_told() -> None:
        assert (await neighbour.sizes.estimates([10], seconds_from_now())) == {10: 4}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segment_sizes, "FRESH_SECONDS", 0)
        await eventually(is_told)
    fans, theirs = {**FANS, "estimated_users": 4}, {**THEIRS, "estimated_users": 3}
    assert await worker.call("find", "own", id="10") == about(fans)
    assert await worker.call("find", "own") == page(fans, CARS, IDLE)
    assert await worker.call("find", "admin") == page(fans, CARS, IDLE, theirs)
    assert await worker.call("change", "own", id=10, segment={}) == about(FANS)


async def test_segments_are_listed_when_nobody_tells_their_sizes(worker: Worker, embedded: EmbeddedCluster) -> None:
    await on_all_nodes(embedded, "ACL", "SETUSER", "default", "-PFCOUNT")
    try:
        answers = [
            await worker.segments.find(request, caller("own", worker.catalog), seconds_from_now())
            for request in (pb.FindSegmentsRequest(), pb.FindSegmentsRequest(id="10"))
        ]
    finally:
        await on_all_nodes(embedded, "ACL", "SETUSER", "default", "+PFCOUNT")
    assert [as_dict(answer) for answer in answers] == [page(FANS, CARS, IDLE), about(FANS)]


async def test_a_segment_by_its_code(worker: Worker, neighbour: Worker) -> None:
    await worker.call("change", "own", id=11, segment={"code": "cars"})
    changed = await neighbour.call("change", "own", code="cars", segment={"short_name": "All cars"})
    assert (changed["id"], changed["segment"]["short_name"]) == (11, "All cars")
    assert (await worker.call("change", "admin", code="cars", member_id=OWN, segment={}))["id"] == 11
    assert (await worker.call("remove", "own", code="cars"))["id"] == 11
    assert (await neighbour.refusal("remove", "own", code="cars")).reason is Reason.NOT_FOUND


async def test_several_at_once(worker: Worker) -> None:
    """Each is done or not."""
    sent = [{"code": "a"}, {"code": "A"}, {"member_id": OTHER}, {"code": 5}, {"short_name": "b", "id": 10}]
    request = ParseDict({"segments": sent}, pb.AddSegmentRequest())
    added = await worker.segments.add_several(request, caller("own", worker.catalog), seconds_from_now())
    reasons = [each.reason if isinstance(each, AudienceError) else None for each in added]
    assert reasons == [None, TAKEN, DENIED, WRONG, None]
    ids = [each.id for each in added if isinstance(each, catalog_pb2.Segment)]
    sent = [{"id": ids[1], "code": "b"}, {"code": "c"}, {"id": 20}, {"id": 99}, {"id": ids[0], "state": "inactive"}]
    changing = ParseDict({"segments": sent}, pb.ChangeSegmentRequest())
    changed = await worker.segments.change_several(changing, caller("own", worker.catalog), seconds_from_now())
    reasons = [each.reason if isinstance(each, AudienceError) else None for each in changed]
    assert reasons == [None, WRONG, DENIED, MISSING, None]
    found = await worker.call("find", "own", id=",".join(map(str, ids)), fields="code,state")
    assert found["segments"] == [{"code": "a", "state": "inactive"}, {"code": "b", "state": "active"}]


async def test_several_of_which_the_cluster_refuses_some(worker: Worker, embedded: EmbeddedCluster) -> None:
    """What was done before is told. Where nothing was, the error is that of the whole call."""
    done, refused = {"id": 10, "short_name": FANS["short_name"]}, {"id": 11, "short_name": "Bicycles"}

    async def change(*segments: dict[str, Any]) -> list[Any]:
        request = ParseDict({"segments": segments}, pb.ChangeSegmentRequest())
        return await worker.segments.change_several(request, caller("own", worker.catalog), seconds_from_now())

    await on_all_nodes(embedded, "ACL", "SETUSER", "default", "-EVAL")
    try:
        outcomes = await change(done, refused, {"id": 20}, done)
        for first in ([], [{"id": 20}]):
            with pytest.raises(RefusedCommandError):
                await change(*first, refused, done)
    finally:
        await on_all_nodes(embedded, "ACL", "SETUSER", "default", "+EVAL")
    assert [type(each) for each in outcomes] == [
        catalog_pb2.Segment,
        RefusedCommandError,
        AudienceError,
        catalog_pb2.Segment,
    ]


@pytest.mark.parametrize("body", [{"segments": [{}] * 101}, {"segments": [{}], "segment": {}}])
async def test_more_than_can_be_at_once(worker: Worker, body: dict[str, Any]) -> None:
    for request, method in (
        (pb.AddSegmentRequest(), worker.segments.add_several),
        (pb.ChangeSegmentRequest(), worker.segments.change_several),
    ):
        with pytest.raises(AudienceError) as refused:
            await method(ParseDict(body, request), caller("own", worker.catalog), seconds_from_now())
        assert (refused.value.reason, refused.value.metadata) == (WRONG, {"field": "segments"})


async def test_a_size_beyond_int32_is_told_as_the_largest(
    worker: Worker, clock: FakeClock, plain: RedisCluster
) -> None:
    every_register_30 = sum(30 << 6 * place for place in range(4)).to_bytes(3, "little") * (REGISTERS // 4)
    size_is_unknown = bytes(7) + b"\x80"
    await plain.set(
        segment_size_key(10, clock.now_ms() // MS_PER_WEEK), b"HYLL" + bytes(4) + size_is_unknown + every_register_30
    )
    answer = await worker.call("find", "own", id="10")
    assert answer["segment"]["estimated_users"] == 2**31 - 1


async def test_reads_count(worker: Worker) -> None:
    """A member that may read once a second is refused when it reads on; changes are no reads."""
    refusals = []
    for _ in range(20):
        try:
            await worker.call("find", "limited")
        except AudienceError as error:
            refusals.append(error)
    assert refusals
    assert {error.reason for error in refusals} == {Reason.RATE_LIMIT_EXCEEDED}
    assert "1 reads per 1 seconds to segment," in refusals[0].message
    for _ in range(5):
        await worker.call("add", "limited", segment={})
