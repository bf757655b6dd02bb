"""The native host, in Rust: HTTP/2 and gRPC framing on a thread of its own; and the fast path that reads regular
requests and batch files of memberships and packs their Redis commands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

_Node = TypeVar("_Node")

_Row = tuple[str, int, bool, str]
"""A field: its key, its number, whether it is a list, and its type (`STRING`, `INT32`, or the name of a message)."""

class JsonReader:
    """Reads JSON bodies strictly (RFC 8259) into encoded messages.

    Args:
        messages: the fields of `root` and of all messages in it, by message name. Unknown keys of a body are ignored;
            keys may also be spelled as in protobuf's JSON.
        start: the bytes that every message begins with.
        depth: the maximum nesting.
        rules: the error texts for values of scalar types.
        empty: the error text for an empty body.

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
        """Convert a body to an encoded message.

        Raises:
            ValueError: the body is invalid; the text says why, for callers.
        """

class JsonWriter:
    """Writes encoded messages as JSON, as the gateway's transcoder does. `messages` has the fields of `root` and of all
    messages in it; other fields are omitted.

    Raises:
        ValueError: there is a field that no response can have.
    """

    def __init__(self, messages: Mapping[str, Sequence[_Row]], root: str) -> None: ...
    def write(self, message: bytes) -> bytes:
        """A message as JSON.

        Raises:
            ValueError: it is not a valid message.
        """

class UnreadBody:
    """A JSON body that must not be read before its caller's token is verified."""

    def read(self) -> bytes:
        """The encoded message.

        Raises:
            ValueError: the body is invalid; the text says why, for callers.
        """

def json_text(text: str) -> str:
    """A string as JSON, with the escapes that responses use."""

class FailedAnswer:
    """The failure of calls, over gRPC (`trailers`) and as JSON; created once, and used for many calls.

    Raises:
        ValueError: a header or status is not valid.
    """

    def __init__(
        self,
        trailers: Sequence[tuple[bytes, bytes]],
        http_status: int,
        http_headers: Sequence[tuple[bytes, bytes]],
        http_body: bytes,
    ) -> None: ...

class RestForm(Protocol):
    """How a method is called with JSON: by which path, with bodies of how many bytes at most, its reader and writer,
    the responses to a body that arrives too late, and on ports to other requests for the path and to calls without a
    credential, and the header of failures that is left out on ports.

    A message that begins with the fields `start` and has nothing but users beside is regular, too; its call has this
    `warning_form`. None: none is.
    """

    @property
    def path(self) -> str: ...
    @property
    def limit_bytes(self) -> int: ...
    @property
    def reader(self) -> JsonReader: ...
    @property
    def writer(self) -> JsonWriter: ...
    @property
    def too_slow(self) -> FailedAnswer: ...
    @property
    def elsewhere(self) -> FailedAnswer: ...
    @property
    def no_credential(self) -> FailedAnswer: ...
    @property
    def for_gateway(self) -> str: ...
    @property
    def start(self) -> bytes: ...
    @property
    def warning_form(self) -> Any: ...

class Host:
    """A gRPC server on any number of addresses (`host:port`, `unix:/path`); ports are shared (SO_REUSEPORT).

    Calls and events are collected until Python `take`s them; `fileno` becomes readable when there are new ones. What
    Python answers is sent with `flush`, which is needed only once for several answers.

    Args:
        methods: for each method its path, its kind (`stream`, or unary and `express`, `queued`, or `gathered`, of
            which the last two wait for capacity) and, if it can be called with JSON, its `RestForm`. Such calls come
            from the gateway with the method's path and the content type that `transport.rest` names, or to a port with
            POST and the REST path, without a query.
        message_limit_bytes: the maximum size of a message, before and after decompression.
        budget: the maximum duration of a call, in seconds; and the share of the time until its caller's deadline that
            is kept for the response's way back, with its upper bound in seconds. Unary requests have to arrive within
            this.
        connections: how many may be open on the ports, and per address; the age in seconds at which one is closed
            gracefully; how many streams each may have (up to 1000); and how many bytes of headers a request.
        waiting: how many calls may wait for capacity; the share of their time for which they may, with its upper
            bound in seconds.
        refusals: the failures, used in rotation, of calls that waited too long or that may not wait.

    Raises:
        OSError: an address cannot be bound.
        ValueError: a duration is not valid.
    """

    def __init__(
        self,
        methods: Sequence[tuple[str, str, RestForm | None]],
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
        """Use this certificate and key (PEM) for TLS handshakes on the ports from now on; before the start, or again
        later.

        `client_ca` has the CAs of client certificates (DER), each with its expiry (Unix time in seconds); with it,
        callers are asked for a certificate, which is mandatory if `required`. `client_crl` has revocation lists (PEM).
        The name in a caller's certificate (its only URI or, if it has none, its only DNS name), after a zero byte,
        replaces a missing `authorization` header.

        Raises:
            ValueError: something cannot be used; the message says what.
        """
    def start(self) -> None:
        """Start to accept connections.

        Raises:
            OSError: a socket cannot listen.
            RuntimeError: the host has been started before.
        """
    def drain(self, grace_seconds: float) -> None:
        """Accept no new calls; `drained` is reported when all connections are closed, or the grace period is over."""
    def close(self) -> None:
        """Stop at once, whatever is in progress."""
    def take(
        self, capacity: tuple[int, int, list[int], bool], prices: tuple[int, int, int, int, int, int], now: float
    ) -> tuple[list[tuple[Any, ...]], list[tuple[int, str, list[GatheredCall]]], list[tuple[Any, ...]], int]:
        """Take unary calls, then groups of regular calls, events, and the number of calls that still wait.

        An event of a call comes after the call. `now` is the time by the event loop's clock.

        Of the calls that wait, as many are taken as there is capacity for. `capacity`: how much there is; how much of
        it is kept for members without running calls; the members that have some; and whether their further calls wait
        until those have ended. `prices`: of a call; additionally of the first call of a queue that is served; the size
        up to which gathered calls take only 1; the number of message bytes for which a call takes its price again; the
        maximum price; and how much a queue takes in a row (its quantum). While calls still wait, `fileno` does not
        report further ones: take again when there is capacity.

        Regular calls have a known token, and requests with nothing but users. They are grouped by the index of their
        method and their token.

        A call: its number, the index of its method, whether its token is known, its message or what is wrong with it,
        then the fields of `transport.calls.call.Call`. In place of a message that was sent as JSON with a token that is
        not known, there is an `UnreadBody`. What is wrong is the value of a `transport.framing.Flaw`, and a size.

        Events begin with their name: `refused` (number, method index or None, request ID, why), `misread` (number,
        method index, what is wrong with the body, for callers, fields of a `Call`), `noted` (method index, request ID,
        token, why: a REST call on a port that has been refused and answered), `opened` (number, method index, fields of
        a `Call`: a stream has been opened), `message` (number, message), `half_closed` (number, what is wrong or None),
        `sent` (number: a message that was `asked` about is on its way), `gone` (number: the caller has gone),
        `drained`.
        """
    def learn(self, authorization: str, member: int | None) -> None:
        """Note the owner of a token, for 30 s: a member, or None for an account whose calls do not wait."""
    def spend(self, method: int, member: int, quota: str, seconds_left: float, answer: FailedAnswer) -> None:
        """Fail all calls of a member to the unary method with this index, for so long: those that wait,
        and those that come, whose messages are not looked at. A call is known to be the member's by its token (see
        `learn`). `quota` is the reason that `take_refused` tells.

        Raises:
            ValueError: the time is negative, or too long.
        """
    def take_refused(self) -> list[tuple[int, int | None, str, int]]:
        """The calls that were refused since the last call of this: method index, member if known, reason (`waited`,
        `full`, or the name of a quota that is spent), and number."""
    def take_refused_connections(self) -> tuple[int, int]:
        """The connections that were refused since the last call of this: because there were too many, and because their
        callers presented no certificate, or an invalid one."""
    def flush(self, answers: Sequence[tuple[Sequence[int], bytes]]) -> None:
        """Answer unary calls, each list of numbers with one message, and deliver all answers so far."""
    def fail(self, number: int, answer: FailedAnswer) -> None:
        """End a call or a stream with a failure."""
    def send(self, number: int, message: bytes, asked: bool) -> None:
        """Send a stream's next message; if `asked`, `sent` reports when everything so far is on its way."""
    def read(self, number: int) -> None:
        """Note that a stream's next message has been read, so that another one may come."""
    def end(self, number: int) -> None:
        """End a stream with status OK."""

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
    warning_form: Any
    span: None
    request_id: str
    ended: bool
    owner: Any
    def fields(self) -> tuple[Any, ...]:
        """The tuple of the call, as `take` returns it for other calls."""

class _Listed(Sequence[bytes]):
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

class EncodedUsers(_Listed):
    """The users of a request, each still encoded. Slices with a negative step raise OverflowError."""

def encoded_users(message: bytes) -> tuple[EncodedUsers, bytes] | None:
    """The users of an ApplySegmentsRequest, and its other fields, encoded; None if it cannot be parsed, or has groups,
    or a field 1 that is not a user."""

def different_users(users: Sequence[bytes], start: int) -> list[bytes] | None:
    """The distinct users from index `start` on; None if `users` are not `EncodedUsers`."""

class UserKeys(_Listed):
    """The keys of platform users. Slices raise TypeError."""

    def spread(self, before: bytes, after: bytes, usual_reply: bytes) -> SpreadCommands:
        """The same command for each key; `before` and `after` are the encoded parts around the key and its length."""

class KnownRanks:
    """Rows of HyperLogLog registers' ranks, at first 0; row 0 stays so (see `sizes.registers.Registers`)."""

    def __init__(self, rows: int) -> None: ...
    def clear(self, row: int) -> None:
        """Set a row to 0. Raises IndexError if there is no such row."""
    def add(self, rows: Sequence[int], keys: UserKeys) -> list[tuple[int, bytes]]:
        """Add all users to the HyperLogLogs of these rows.

        Returns indexes in `rows` of those in which users raise a register, and the numbers of these users
        (`sizes.hyperloglog.numbers_of`), 64 bits each, in native byte order. Raises IndexError if there is no such row.
        """

class SpreadCommands:
    """The same command for each key of a list, encoded on demand (a `store.interfaces.groups.Group`)."""

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
    """A set of platform users' keys."""

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
    """Read several requests as one; None unless all are `EncodedUsers`, whose users begin with an ID of at most 19
    digits without leading zeros, and no user occurs twice in a request or with different bytes after its ID."""

class PackedCommands:
    """Encoded commands on platform users' keys (a `store.interfaces.groups.PackedCommands`)."""

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
    """Rows of a file that were read natively, and their commands.

    `number` is how many there are, `others` are lines that Python has to read, `added` and `removed` count memberships
    by segment. If a user has a segment twice, `commands` have only the last one.
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
        """The keys of all users."""
    def joining(self) -> list[bytes]:
        """The keys of the users that rows add to segments, even if a later row takes them out."""
    def joins(self) -> tuple[bytes, list[int], bytes, bytes]:
        """The fields of `store.interfaces.segment_sizes.Joins`."""

class LineReader:
    """Reads lines with a platform user's ID and known segments, up to the given limits. `user`, `segment` and `removal`
    are separators of one byte; the last two may be empty.

    Raises:
        ValueError: a separator is not valid.
    """

    def __init__(
        self, *, user: bytes, segment: bytes, removal: bytes, most_segments: int, longest_line: int
    ) -> None: ...
    @property
    def known(self) -> int:
        """Number of known texts."""
    def learn(self, text: bytes, leaving: bool, segment_id: int, end: int, value: int) -> None:
        """Remember what a segment's text means; `leaving` if it is after the separator of removals. `end` is one of
        `store.interfaces.memberships.UserChanges`."""
    def read(self, text: bytes) -> ReadRows:
        """Read lines; empty ones are skipped."""

class RecordReader:
    """Reads Avro records with a platform user's ID, as a number after the bytes `uid_head`, and known segments.

    `fields` has a letter for each field of a segment: `n` for a number, `t` for a string, `b` for a boolean.

    Raises:
        ValueError: a letter is not one of these.
    """

    def __init__(self, *, uid_head: bytes, fields: bytes, most_segments: int) -> None: ...
    @property
    def known(self) -> int:
        """Number of known encoded segments."""
    def learn(self, text: bytes, segment_id: int, end: int, value: int) -> None:
        """Remember what an encoded segment means."""
    def split(self, data: bytes, place: int) -> list[bytes] | None:
        """The encoded segments of the record at an offset; None if it has another shape."""
    def read(self, data: bytes, place: int, most: int) -> tuple[int, int]:
        """Read at most `most` records from an offset on, up to one that Python has to read; returns the offset after
        them, and their number."""
    def finish(self) -> ReadRows:
        """The records that were read since the last call of this."""
