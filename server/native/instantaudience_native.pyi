"""The native host, in Rust: gRPC's transport and framing. It runs in a thread of its own. And what is regular in
requests to apply memberships, and in files of them, read and packed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

_Node = TypeVar("_Node")

_Row = tuple[str, int, bool, str]
"""A field: its key, its number, whether it is a list, and what it holds (`STRING`, `INT32`, the name of a message)."""

class JsonReader:
    """Reads JSON bodies strictly (RFC 8259) into messages.

    `messages` has the fields of `root` and of all that is in it, by the messages' names. Unknown keys are ignored.
    Keys may also be spelled as in protobuf's JSON. Every message begins with `start`.
    `depth` is how many levels of nesting there may be, `rules` says what values of a scalar type must be; `empty` is
    said where there is no body.

    Raises:
        ValueError: there is a field that no body can have.
    """

    def __init__(
        self,
        messages: Mapping[str, Sequence[_Row]],
        root: str,
        *,
        start: bytes,
        depth: int,
        rules: Mapping[str, str],
        empty: str,
    ) -> None: ...
    def read(self, body: bytes) -> bytes:
        """The message that a body is.

        Raises:
            ValueError: what is wrong with the body, for people.
        """

class JsonWriter:
    """Writes messages as JSON, as the gateway's transcoder does: `messages` has the fields of `root` and of all that is
    in it; others are left out.

    Raises:
        ValueError: there is a field that no answer can have.
    """

    def __init__(self, messages: Mapping[str, Sequence[_Row]], root: str) -> None: ...
    def write(self, message: bytes) -> bytes:
        """The JSON of a message.

        Raises:
            ValueError: it is no message.
        """

def json_text(text: str) -> str:
    """A string as JSON, with the escapes that answers have."""

class FailedAnswer:
    """How a call fails, over gRPC (`trailers`) and in JSON: made once, and used for many.

    Raises:
        ValueError: no header or status may be that.
    """

    def __init__(
        self,
        trailers: Sequence[tuple[bytes, bytes]],
        http_status: int,
        http_headers: Sequence[tuple[bytes, bytes]],
        http_body: bytes,
    ) -> None: ...

class Host:
    """A gRPC server on any number of addresses (`host:port`, `unix:/path`); ports are shared (SO_REUSEPORT).

    `methods` are paths, what their calls are (a `stream`, or unary and come `express`, wait `in_turn`, or wait and are
    `gathered`), and, where they can be called with JSON, what reads and writes their messages, and the answer to a body
    that comes too late; such a call has the content type that `transport.rest` names. What comes is put on a list, and
    `fileno` becomes readable where the list was empty; `take` takes all of it. What is said in return is heard with
    `flush`, once for all of it.

    `message_limit_bytes` bounds a message, before and after decompression. `budget` is how many seconds a call may
    take, or until its caller's deadline, and which share of what that leaves is kept for the answer's way back, and for
    how many seconds at most; a unary request has to be there within that. `waiting` is how many calls wait for their
    turn, for which share of the time they have, and for how many seconds at most. Those whose turn does not come, or
    that have no room to wait in, are refused with one of `refusals`, one after the other. `connections` is how many may
    be open on the ports, how many of one address, the age in seconds at which one is asked to end, how many streams (up
    to 1000) each may have, and how many bytes of headers a request.

    Raises:
        OSError: an address cannot be had.
        ValueError: a duration is none.
    """

    def __init__(
        self,
        methods: Sequence[tuple[str, str, tuple[JsonReader, JsonWriter, FailedAnswer] | None]],
        addresses: Sequence[str],
        *,
        message_limit_bytes: int,
        budget: tuple[float, float, float],
        connections: tuple[int, int, float, int, int],
        waiting: tuple[int, float, float],
        refusals: Sequence[FailedAnswer],
    ) -> None: ...
    def fileno(self) -> int: ...
    def secure(
        self,
        chain: bytes,
        key: bytes,
        *,
        client_ca: Sequence[tuple[bytes, int]] | None,
        client_crl: bytes | None,
        required: bool,
    ) -> None:
        """From now on, make TLS handshakes on the ports with this certificate and key (PEM); before the start, or anew.

        `client_ca` are those who vouch for callers' certificates (DER), each with its end (Unix time): callers are
        asked for one; `required`: they need one. `client_crl` has those that count no more. The name in a caller's
        certificate (its only URI or, where it has none, its only DNS name) stands after a zero byte where there is no
        header `authorization`.

        Raises:
            ValueError: something cannot be used; the message says what.
        """
    def start(self) -> None:
        """Let callers in.

        Raises:
            OSError, RuntimeError.
        """
    def drain(self, grace_seconds: float) -> None:
        """Take no new calls; `drained` comes when no connection is left, or the grace is over."""
    def close(self) -> None:
        """End at once, whatever is under way."""
    def take(
        self, room: tuple[int, int, list[int], bool], prices: tuple[int, int, int, int, int, int], now: float
    ) -> tuple[list[tuple[Any, ...]], list[tuple[int, str, list[GatheredCall]]], list[tuple[Any, ...]], int]:
        """The unary calls that have come, then those that are gathered and regular, and what else has happened; an
        event of a call comes after the call. It is `now`, by the event loop's clock.

        Of the calls that wait for their turn, as many as there is room for. `room` says how much there is, how much of
        it is kept for members that have no call running, which have, and whether their calls wait for those.
        `prices` says how much a call takes, how much more a member's first one does, up to which size gathered ones
        take 1 alone, for how many bytes of its message a call takes as much again, what it takes at most, and what a
        member's calls take in a row before the next member's. Last, how many others wait: then `fileno` does not tell
        of more of them, and it is to be asked again when there is room.

        Regular calls are those whose tokens were learnt and whose requests say nothing beside their users: they come by
        their method's place in the list and their token.

        A call: its number, its method's place in the list, whether its token was learnt, its message or what is wrong
        with it, then the fields of `transport.calls.call.Call`. What is wrong is the value of a
        `transport.framing.Flaw`, and a size.

        Events begin with their name: `refused` (number, method's place or None, request ID, the value of a `Flaw`),
        `misread` (number, the place of its method, what is wrong with the body, for people, …), `opened` (number,
        method's place, fields of a `Call`: a stream begins), `message` (number, message), `half_closed` (number, what
        is wrong or None), `sent` (number: what was asked after), `gone` (number: nobody waits for the call any more),
        `drained`.
        """
    def learn(self, authorization: str, member: int | None) -> None:
        """Whose this token is: an account's of a member, or (None) one that needs no turn. It counts for 30 s."""
    def take_refused(self) -> list[tuple[int, int | None, str, int]]:
        """What was refused since this was asked last.

        The method's place, the member where it is known, why (`waited` or `full`), and how many.
        """
    def take_refused_connections(self) -> tuple[int, int]:
        """How many connections were refused since this was asked last: as there were too many, and as their callers
        showed no certificate, or none that is good."""
    def flush(self, answers: Sequence[tuple[Sequence[int], bytes]]) -> None:
        """Answer unary calls, those of each number alike, and have heard what was said."""
    def fail(self, number: int, answer: FailedAnswer) -> None:
        """End a call or a stream with a failure."""
    def send(self, number: int, message: bytes, asked: bool) -> None:
        """Send a stream's next message; where `asked`, `sent` says when it and all before it are on their way."""
    def read(self, number: int) -> None:
        """The next message of a stream was read: there is room for another one."""
    def end(self, number: int) -> None:
        """End a stream with OK."""

class GatheredCall:
    """A regular call (a `transport.direct.Gathered`)."""

    number: int
    users: EncodedUsers
    user_count: int
    size_bytes: int
    sent_bytes: int
    waited_seconds: float
    came: float
    deadline: float
    validate_only: bool
    warning_form: None
    span: None
    request_id: str
    ended: bool
    owner: Any
    def fields(self) -> tuple[Any, ...]:
        """As a call that is not regular, now."""

class _Listed(Sequence[bytes]):
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

class EncodedUsers(_Listed):
    """The users of a request, each as it is encoded. A slice that goes backwards is an OverflowError."""

def encoded_users(message: bytes) -> tuple[EncodedUsers, bytes] | None:
    """The users of an ApplySegmentsRequest, and its other fields, encoded; None for one that cannot be read, or has
    groups or a field 1 that is no user."""

def different_users(users: Sequence[bytes], start: int) -> list[bytes] | None:
    """The different ones of users, from one on, where they are `EncodedUsers`; None for others."""

class UserKeys(_Listed):
    """The keys of platform users. There are no slices: TypeError."""

    def numbers(self) -> bytes:
        """The users' numbers (`sizes.hyperloglog.numbers_of`), 64 bits each, in the machine's order."""
    def spread(self, before: bytes, after: bytes, usual_reply: bytes) -> SpreadCommands:
        """One command on each key; `before` and `after` are what stands around the key and its length."""

class SpreadCommands:
    """The same command on each of some keys, packed when it is asked for (a `store.interfaces.groups.Group`)."""

    @property
    def keys(self) -> UserKeys: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def usual_reply(self) -> bytes: ...
    def __len__(self) -> int: ...
    def by_node(self, nodes: list[_Node]) -> dict[_Node, list[int]]: ...
    def slot(self, index: int) -> int: ...
    def packed(self, indexes: Sequence[int]) -> bytes: ...
    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None: ...

class KeySet:
    """Keys of platform users."""

    def isdisjoint(self, others: Iterable[bytes], /) -> bool: ...
    def __iter__(self) -> Iterator[bytes]: ...

class UsersTogether:
    """Platform users of several requests (a `memberships.by_blocks.ByBlocks`)."""

    @property
    def rests(self) -> list[bytes]: ...
    @property
    def sizes(self) -> list[int]: ...
    @property
    def keys(self) -> list[UserKeys]: ...
    @property
    def key_set(self) -> KeySet: ...
    def segments(self, valid: Sequence[int]) -> list[int]: ...

def users_together(requests: list[Sequence[bytes]]) -> UsersTogether | None:
    """The users of requests, where all are `EncodedUsers` and begin with an ID of at most 19 digits without leading
    zeros; None for others, and where one stands twice in a request, or has different bytes after its ID."""

class PackedCommands:
    """Commands of platform users, packed for the wire (a `store.interfaces.groups.PackedCommands`)."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def usual_reply(self) -> bytes: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> bytes: ...
    def by_node(self, nodes: list[_Node]) -> dict[_Node, list[int]]: ...
    def slot(self, index: int) -> int: ...
    def packed(self, indexes: Sequence[int]) -> bytes: ...
    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None: ...

class ReadRows:
    """Rows of a file that were read natively: what they count, and what they change.

    `number` is how many these are, `others` are lines that were left to Python, `added` and `removed` how many
    memberships of each segment. Of a segment that a user has twice, `commands` have the last one.
    """

    @property
    def number(self) -> int: ...
    @property
    def others(self) -> list[bytes]: ...
    @property
    def added(self) -> dict[int, int]: ...
    @property
    def removed(self) -> dict[int, int]: ...
    @property
    def commands(self) -> list[PackedCommands]: ...
    def keys(self) -> list[bytes]:
        """The users' keys."""
    def joining(self) -> list[bytes]:
        """The keys of the users that join a segment."""
    def joins(self) -> tuple[bytes, list[int], bytes, bytes]:
        """The fields of `store.interfaces.segment_sizes.Joins`."""

class LineReader:
    """Reads lines of a platform user's ID and of segments that are known, all within what may be; `user`, `segment` and
    `removal` are separators of a byte, the last two perhaps of none.

    Raises:
        ValueError: a separator is none.
    """

    def __init__(
        self, *, user: bytes, segment: bytes, removal: bytes, most_segments: int, longest_line: int
    ) -> None: ...
    @property
    def known(self) -> int:
        """How many texts are known."""
    def learn(self, text: bytes, leaving: bool, segment_id: int, end: int, value: int) -> None:
        """Keep what a segment's text means: where it stands, or behind the separator of segments that the user leaves.
        `end` is one of `store.interfaces.memberships.UserChanges`."""
    def read(self, text: bytes) -> ReadRows:
        """Read lines; empty ones do not count."""

class RecordReader:
    """Reads Avro records of a platform user's ID, as a number after `uid_head`, and of segments that are known.

    `fields` has a letter for each field of a segment: `n` for a number, `t` for a text, `b` for a boolean.

    Raises:
        ValueError: no field has this letter.
    """

    def __init__(self, *, uid_head: bytes, fields: bytes, most_segments: int) -> None: ...
    @property
    def known(self) -> int:
        """How many segments are known, as they are encoded."""
    def learn(self, text: bytes, segment_id: int, end: int, value: int) -> None:
        """Keep what a segment means, as it is encoded."""
    def split(self, data: bytes, place: int) -> list[bytes] | None:
        """The encoded segments of the record at a place; None where it is of another form."""
    def read(self, data: bytes, place: int, most: int) -> tuple[int, int]:
        """Read at most so many records from a place on, up to one that is for Python to read; the place after them, and
        how many these were."""
    def finish(self) -> ReadRows:
        """All records that were read since this was asked last."""
