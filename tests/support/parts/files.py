"""Files of memberships, and what is needed to apply them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import hiredis
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.batch.applying import FileApplying
from instantaudience_server.batch.counters import Counters
from instantaudience_server.batch.jobs import Checkpoint, FileFailedError, JobView, StoredFile
from instantaudience_server.batch.yielding import Yielding
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.catalog import Catalog, Member
from instantaudience_server.catalog.feed import FindMember
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.catalog import Record
from instantaudience_server.store.interfaces.groups import PackedCommands
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, Changes, UserChanges
from instantaudience_server.store.interfaces.segment_sizes import Joins
from instantaudience_server.store.keys import key_slot
from instantaudience_server.suppressions import Suppressions

from support.contract.model import ExternalIds, State
from support.parts.readings import AllWritten, KnownIds, applied, by_user

MEMBER, OTHER, EXTERNAL, STRANGER = 1, 2, 3, 9
UPLOADED_S = 1_700_000_000
UPLOADED_MS = UPLOADED_S * 1000 + 500
UUID = "AEBE52E7-03EE-455A-B3C4-E57283966239"
"""A device ID, as in files."""
SEGMENTS: tuple[dict[str, Any], ...] = (
    {"id": 5848, "member_id": MEMBER, "code": "cars"},
    {"id": 5849, "member_id": MEMBER, "code": "boats"},
    {"id": 5850, "member_id": MEMBER},
    {"id": 5851, "member_id": MEMBER, "code": "old", "state": pb.SEGMENT_STATE_INACTIVE},
    {"id": 6000, "member_id": OTHER, "code": "cars"},
    {"id": 7000, "member_id": STRANGER, "code": "secret"},
    {"id": 8000, "member_id": EXTERNAL},
)


def batch_catalog(member: Mapping[str, Any] | None = None, *, batch: Mapping[str, Any] | None = None) -> Catalog:
    """A catalog of members with segments. `member` has fields of MEMBER, `batch` its batch settings."""
    settings = pb.BatchSettings(**batch or {})
    messages: list[Any] = [
        pb.Member(id=MEMBER, name="Member", segment_access=[OTHER], batch=settings, **member or {}),
        pb.Member(id=OTHER, name="Other"),
        pb.Member(id=EXTERNAL, name="External", use_external_uids=True, batch=settings),
        pb.Member(id=STRANGER, name="Stranger"),
        *(pb.Segment(**segment) for segment in SEGMENTS),
    ]
    return Catalog(Record(catalog_records.kind_of(each), catalog_records.encode(each)) for each in messages)


def end(minutes: int, start_ms: int = UPLOADED_MS) -> int:
    """The end of a membership of this many minutes."""
    return start_ms + minutes * 60_000


def members_of(catalog: Catalog) -> FindMember:
    """A function that finds the members of a catalog."""

    async def find(member_id: int, _: float) -> Member | None:
        return catalog.members.get(member_id)

    return find


class MemoryFile:
    """An uploaded file, read in pieces of this size; `reads` has the offsets from which it was read."""

    def __init__(self, content: bytes, piece_bytes: int = 2**20) -> None:
        self.content = content
        self.reads: list[int] = []
        self._piece_bytes = piece_bytes

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """See `StoredFile`."""
        self.reads.append(offset)
        for start in range(offset, len(self.content), self._piece_bytes):
            await asyncio.sleep(0)
            yield self.content[start : start + self._piece_bytes]


class NotedStore(KnownIds):
    """A store that records writes as if they had succeeded."""

    def __init__(self, external_ids: ExternalIds | None = None) -> None:
        super().__init__(external_ids or {})
        self.state: State = {}
        self.refuses: set[bytes] = set()
        """Users whose changes fail."""
        self.durabilities: set[Durability | None] = set()
        """The durabilities that writes asked for."""

    def write(
        self,
        changes: Changes,
        deadline: float,
        durability: Durability | None = None,
        packed: Sequence[PackedCommands] = (),
        may_go: Callable[[], bool] | None = None,
    ) -> "NotedWrite":
        """Write at once."""
        assert may_go is None
        self.durabilities.add(durability)
        users, others = by_user(changes), unpacked(packed)
        assert not users.keys() & others.keys()
        users |= others
        refused = self.refuses & users.keys()
        self.state = applied({key: each for key, each in users.items() if key not in refused}, self.state)
        return NotedWrite(refused)


class NotedWrite(AllWritten):
    """A completed write, in which the cluster refused the changes of some users."""

    def __init__(self, refused: set[bytes]) -> None:
        super().__init__()
        self._refused = refused

    def failures(self) -> dict[bytes, Exception]:
        """See `Writing`."""
        return {key: RuntimeError("WRONGTYPE") for key in self._refused}


def unpacked(packed: Sequence[PackedCommands]) -> dict[bytes, UserChanges]:
    """The changes of each user in packed commands."""
    users: dict[bytes, dict[int, dict[int, int]]] = {}
    for commands in packed:
        for index in range(len(commands)):
            reader = hiredis.Reader()
            reader.feed(commands.packed([index]))
            (name, key, *words), rest = reader.gets(), reader.gets()
            assert (rest, commands[index], commands.slot(index)) == (False, key, key_slot(key))
            changes = users.setdefault(key, {})
            if name == b"HDEL":
                assert REMOVE not in changes
                changes[REMOVE] = dict.fromkeys(map(int, words), 0)
                continue
            assert name == b"HSETEX"
            end = int(words[1]) if words[0] == b"PXAT" else NEVER
            fields = words[2:] if end else words
            assert (fields[0], int(fields[1])) == (b"FIELDS", len(fields[2:]) // 2)
            assert end not in changes
            numbers = list(map(int, fields[2:]))
            changes[end] = dict(zip(numbers[::2], numbers[1::2], strict=True))
    return dict(users)


class NoSizes:
    """Ignores segment sizes."""

    async def make_room(self) -> None:
        """There always is room."""

    def note(self, changes: Changes | Joins) -> None:
        """Does nothing."""


class Job:
    """Applies a file to a store that records writes; keeps the newest checkpoint as text, as a real job does."""

    def __init__(
        self,
        catalog: Catalog,
        store: Any = None,
        *,
        member_id: int = MEMBER,
        uploaded_ms: int = UPLOADED_MS,
        block_bytes: int = 4 * 2**20,
        suppressions: Suppressions | None = None,
        yielding: Yielding | None = None,
        sizes: Any = None,
        **bounds: Any,
    ) -> None:
        self.store = store or NotedStore()
        self.applying = FileApplying(
            catalog,
            self.store,
            sizes or NoSizes(),
            suppressions,
            block_bytes=block_bytes,
            yielding=yielding,
        )
        self.view = JobView(member_id, uploaded_ms, **bounds)
        self.saved: list[str] = []
        self.failure: FileFailedError | None = None

    async def run(self, content: bytes | StoredFile, *, until: int | None = None) -> Counters:
        """Apply a file from the newest checkpoint to its end, or stop after this many checkpoints."""
        file = MemoryFile(content) if isinstance(content, bytes) else content
        start = Checkpoint.load(self.saved[-1]) if self.saved else None
        checkpoints = self.applying.apply(file, self.view, start)
        try:
            async for checkpoint in checkpoints:
                self.saved.append(checkpoint.dump())
                if until is not None and len(self.saved) >= until:
                    break
        except FileFailedError as error:
            self.failure = error
        finally:
            await checkpoints.aclose()
        return Checkpoint.load(self.saved[-1]).counters


def now_s() -> int:
    """The Unix time in seconds."""
    return int(time.time())
