"""Requests in the contract's JSON form, read in the same way as the service does."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.applied import Applied
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, Changes, UserChanges
from instantaudience_server.transport.methods.audience import apply_answer

from support.clocks import NOW_MS, FakeClock
from support.contract.model import ExternalIds, State
from support.parts.callers import caller, demo_catalog
from support.parts.quotas import Windows

CATALOG = demo_catalog()
LETTERS = {"p": "", "i": "idfa", "a": "aaid", "s": "sha1udid", "o": "openudid", "m": "md5udid"}
"""Domain letters of keys (design, "Storage") → names in the contract."""


class KnownIds:
    """A store with external IDs."""

    def __init__(self, external_ids: ExternalIds) -> None:
        self._ids = external_ids

    async def resolve_external_ids(self, keys: list[bytes], deadline: float) -> list[str | None]:
        """The platform user IDs for keys `x:<member>:<external id>`."""
        split = (key.decode().split(":", 2) for key in keys)
        return [self._ids.get((int(member), external)) for _, member, external in split]


class Written(KnownIds):
    """A store that records writes."""

    def __init__(self, external_ids: ExternalIds) -> None:
        super().__init__(external_ids)
        self.changes: list[Changes] = []

    def write(self, changes: Changes, deadline: float, durability: Durability | None = None) -> "AllWritten":
        """Record the changes."""
        self.changes.append(changes)
        return AllWritten()


class AllWritten:
    """A successful write."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.done.set_result(None)

    @property
    def unanswered(self) -> int:
        """There are none."""
        return 0

    def failures(self) -> dict[bytes, Exception]:
        """There are none."""
        return {}

    def unwritten(self) -> set[bytes]:
        """There are none."""
        return set()


class Counted:
    """Records counted calls in `applied`, and ignores segment sizes."""

    def __init__(self) -> None:
        self.applied: list[Applied] = []

    def count(self, member_id: int, applied: Applied, deadline: float) -> "asyncio.Future[None]":
        """Record a call."""
        self.applied.append(applied)
        counted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        counted.set_result(None)
        return counted

    def note(self, changes: Changes) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class Read:
    """A request that was read: the response, in the contract's JSON form, its warnings, and the changes."""

    response: dict[str, Any]
    result: Result
    changes: dict[bytes, UserChanges]

    @property
    def messages(self) -> list[str]:
        """The texts of the warnings."""
        return [warning.message for warning in self.warnings]

    @property
    def warnings(self) -> Sequence[pb.ApplyWarning]:
        """The warnings."""
        return warnings_of(self.result)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of valid users, and of valid blocks."""
        return self.result.users, self.result.segments

    @property
    def memberships(self) -> dict[tuple[str, str], dict[int, tuple[int, int]]]:
        """The changes: user → segment ID → (value, end)."""
        written: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
        for key, user_changes in self.changes.items():
            of_user = written[user_of(key)] = {}
            for end, values in user_changes.items():
                assert of_user.keys().isdisjoint(values), "a segment stands under two ends"
                of_user |= {segment_id: (value, end) for segment_id, value in values.items()}
        return written


def encoded(request: Mapping[str, Any]) -> Any:
    """A request as received from the wire."""
    return ApplyRequest.FromString(
        ParseDict(dict(request), pb.ApplySegmentsRequest(), ignore_unknown_fields=True).SerializeToString()
    )


def piece(number: int, content: bytes) -> bytes:
    """An encoded length-delimited field (https://protobuf.dev/programming-guides/encoding/)."""
    length, size = len(content), b""
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


class Reader:
    """A service that reads requests; `clock` starts at NOW_MS."""

    def __init__(self, catalog: Catalog, external_ids: ExternalIds, quotas: Quotas | None = None) -> None:
        self.catalog = catalog
        self.clock = FakeClock(NOW_MS)
        self.quotas = quotas or Quotas(Windows())
        self.store, self.counted = Written(external_ids), Counted()
        store: Any = self.store
        counted: Any = self.counted
        self.service = MembershipService(catalog, store, self.quotas, counted, counted, self.clock)

    async def read(self, request: Mapping[str, Any] | Any, username: str = "demo") -> Read:
        """Read a request (JSON form, or a message) as an account."""
        message = encoded(request) if isinstance(request, Mapping) else request
        result = await self.service.apply(message, caller(username, self.catalog), deadline=float("inf"))
        changes = [alike for written in self.store.changes for alike in written]
        self.store.changes.clear()
        return Read(response_to(result), result, by_user(changes))


@asynccontextmanager
async def reading(catalog: Catalog = CATALOG, external_ids: ExternalIds | None = None) -> AsyncIterator[Reader]:
    """Run a reader."""
    reader = Reader(catalog, external_ids or {})
    try:
        yield reader
    finally:
        await reader.service.close()
        await reader.quotas.close()


async def read_async(
    request: Mapping[str, Any] | Any, username: str = "demo", external_ids: ExternalIds | None = None
) -> Read:
    """Read a request (JSON form, or a message) at NOW_MS, as an account of the demo catalog."""
    async with reading(external_ids=external_ids) as reader:
        return await reader.read(request, username)


def by_user(changes: Changes) -> dict[bytes, UserChanges]:
    """The changes of each user."""
    users = [(key, user_changes) for keys, user_changes in changes for key in keys]
    assert len(dict(users)) == len(users), "a user stands twice"
    return dict(users)


def read(request: Mapping[str, Any] | Any, username: str = "demo", external_ids: ExternalIds | None = None) -> Read:
    """Like `read_async`, for tests without an event loop."""
    return asyncio.run(read_async(request, username, external_ids))


def as_response(result: pb.ApplySegmentsResult) -> dict[str, Any]:
    """A result in the contract's JSON form: without fields for gRPC only, and with every key."""
    response = MessageToDict(
        pb.ApplySegmentsResponse(response=result),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    for warning in response["response"]["warnings"]:
        del warning["code"], warning["path"]
    return response


def response_to(result: Result) -> dict[str, Any]:
    """Like `as_response`, for the service's own result type."""
    encoded = apply_answer(result).SerializeToString()
    answer = pb.ApplySegmentsResponse.FromString(encoded)
    assert answer.SerializeToString(deterministic=True) == encoded, "protobuf's libraries write it otherwise"
    return as_response(answer.response)


def warnings_of(result: Result) -> Sequence[pb.ApplyWarning]:
    """The warnings in a result."""
    return pb.ApplySegmentsResult.FromString(result.warnings).warnings


def applied(changes: Mapping[bytes, UserChanges], state: State) -> State:
    """The state after changes have been written."""
    after = {user: dict(memberships) for user, memberships in state.items()}
    for key, user_changes in changes.items():
        memberships = after.setdefault(user_of(key), {})
        for end, values in user_changes.items():
            for segment_id, value in values.items():
                if end == REMOVE:
                    memberships.pop(segment_id, None)
                else:
                    memberships[segment_id] = (value, 0 if end == NEVER else end)
    return {user: memberships for user, memberships in after.items() if memberships}


def user_of(key: bytes) -> tuple[str, str]:
    """The domain's name and the user ID of a key."""
    kind, letter, user_id = key.decode().split(":", 2)
    assert kind == "m"
    return LETTERS[letter], user_id
