"""The native host: a server in Rust (`instantaudience_native`), in a thread of its own, in front of the pipeline.

It serves gRPC, and JSON for methods that have a form for it; for the pipeline there is no difference.

The host wakes the event loop when something has arrived, and the loop takes everything that is there. All answers of a
turn of the event loop go back together at its end.
"""

import asyncio
import contextlib
import importlib.util
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from instantaudience_server.admission import admission, prices
from instantaudience_server.admission.quotas import count_spent
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.errors import AudienceError, Reason, Spent, unreadable
from instantaudience_server.observation.metrics import NATIVE_REFUSALS
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.entrance import MOST_KEPT_SECONDS, SHARE_KEPT
from instantaudience_server.transport.calls.kinds import AnyMethod
from instantaudience_server.transport.calls.outcomes import BARE_DEFECT, UNKNOWN_METHOD, CallError
from instantaudience_server.transport.calls.pipeline import Pipeline
from instantaudience_server.transport.framing import Flaw, flawed
from instantaudience_server.transport.hosts.native_streams import NativeStreams
from instantaudience_server.transport.hosts.native_terms import (
    Wrong,
    error_of,
    failed_answer,
    kind,
    refusals,
    rest_form,
)
from instantaudience_server.transport.rest import JsonForm
from instantaudience_server.transport.status import Failure

if TYPE_CHECKING:
    from instantaudience_native import GatheredCall, UnreadBody

    Message = bytes | UnreadBody | Wrong | AudienceError

EXTENSION = "instantaudience_native"
CONNECTION_SECONDS = 60.0
"""The age at which a connection is asked to end, the same as at the gateway; up to a tenth is added by chance."""
PATIENCE_SECONDS = 0.4
"""How long a call waits for its turn at most. Without overload, turns come much sooner."""
TOGETHER_SECONDS = 0.01
"""How long a call may wait for running calls of its member to end, so that those that wait can begin together and share
their costs (docs/adr/0031-turns-by-cost.md)."""
MANY_REFUSED = 10
"""Once so many calls were refused over a quota in a window, the host refuses the window's further ones: they cost next
to nothing then, but are counted a little later."""
MOST_NOTED = 100
"""The most refused REST calls whose tokens are looked up at once to count them for a member. Their callers have been
answered, so that nothing else bounds them; past it, those whose tokens this worker does not know are nobody's."""
COUNT_SECONDS = 0.5
"""The interval at which the host's refusals are counted."""
_COUNT_REFUSALS = tuple(NATIVE_REFUSALS.labels(reason).inc for reason in ("connections", "certificates"))
"""In the order in which the host reports them."""


def missing() -> str | None:
    """Why the host cannot run here; None when it can."""
    if importlib.util.find_spec(EXTENSION) is None:
        return "its extension is not built (`make setup` builds it where cargo is installed)"
    return None


class NativeHost:
    """A gRPC server on any number of addresses (`host:port`, `unix:/path`); ports are shared (SO_REUSEPORT).

    A message larger than `message_limit_bytes` fails its call. A call may take `call_timeout_seconds`, and a unary
    request must arrive within that. Unary calls wait for their turn in Rust, before the event loop sees them
    (docs/adr/0018-admission.md). `json_forms` has the methods that can be called with JSON: as a gateway passes them
    on, and on ports by their REST paths.

    These limits hold on ports, not on unix sockets: `max_connections` in all and `max_connections_of_address` from one
    IP address, past which new ones are closed at once; `max_streams` of HTTP/2 on a connection; `max_header_bytes` of a
    request, never more than 16 KB. `connection_seconds` is the age at which a connection is asked to end.

    Raises:
        OSError: an address is not available.
    """

    def __init__(
        self,
        methods: Sequence[AnyMethod],
        pipeline: Pipeline,
        addresses: Sequence[str],
        *,
        message_limit_bytes: int,
        call_timeout_seconds: float,
        max_connections: int,
        max_connections_of_address: int,
        max_streams: int,
        max_header_bytes: int,
        json_forms: Sequence[JsonForm] = (),
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        from instantaudience_native import Host  # imported here, as the other hosts run without the extension

        self._methods: Sequence[Any] = methods
        self._pipeline = pipeline
        self._direct = pipeline.direct(self)
        self._gathered = {index for index, method in enumerate(methods) if kind(method) == "gathered"}
        self._unary = {method.path: index for index, method in enumerate(methods) if kind(method) != "stream"}
        pipeline.outcomes.refuse_further = self._refuse_further
        self._message_limit_bytes = message_limit_bytes
        self._loop = asyncio.get_running_loop()
        self._json_forms = {form.path: form for form in json_forms}
        self._host = Host(
            [(method.path, kind(method), rest_form(self._json_forms.get(method.path), method)) for method in methods],
            addresses,
            message_limit_bytes=message_limit_bytes,
            budget=(call_timeout_seconds, SHARE_KEPT, MOST_KEPT_SECONDS),
            connections=(
                max_connections,
                max_connections_of_address,
                connection_seconds,
                max_streams,
                max_header_bytes,
            ),
            waiting=(pipeline.admission.most_waiting, admission.PATIENCE_SHARE, PATIENCE_SECONDS),
            refusals=[failed_answer(failure) for failure in refusals()],
        )
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._streams = NativeStreams(
            self._host, methods, pipeline, message_limit_bytes, fail=self.fail, flush_later=self._flush_later
        )
        self._answers: list[tuple[Sequence[int], bytes]] = []
        self._flushing: asyncio.Handle | None = None
        self._taking: asyncio.TimerHandle | None = None
        """Calls `_take` again while calls wait for their turn."""
        self._begins_at = 0.0
        """Until when calls of members with running calls have to wait (see `TOGETHER_SECONDS`)."""
        self._counting: asyncio.TimerHandle | None = None
        self._drained = self._loop.create_future()
        self._on_event: dict[str, Callable[..., None]] = {
            "refused": self._refuse,
            "misread": self._misread,
            "noted": self._note,
            "opened": self._streams.open,
            "message": self._streams.receive,
            "half_closed": self._streams.half_close,
            "sent": self._streams.go_on,
            "gone": self._leave,
            "drained": self._end_drain,
        }

    def secure(
        self,
        chain: bytes,
        key: bytes,
        client_ca: Sequence[tuple[bytes, int]] | None,
        client_crl: bytes | None,
        *,
        required: bool,
    ) -> None:
        """Use TLS on the ports (not on unix sockets), with this certificate from now on.

        `chain`, `key` and `client_crl` are PEM. `client_ca` are the CA certificates for client certificates, each in
        DER with the Unix time at which it ends. `required`: callers must have a certificate that one of these has
        issued and `client_crl` does not revoke.

        Raises:
            ValueError: one of these cannot be used.
        """
        self._host.secure(chain, key, client_ca=client_ca, client_crl=client_crl, required=required)

    async def start(self) -> None:
        """Begin to take calls."""
        self._loop.add_reader(self._host.fileno(), self._take)
        self._host.start()
        self._count_refused()

    async def drain(self, grace_seconds: float) -> None:
        """Take no new calls, wait `grace_seconds` for those under way, and close the host."""
        self._host.drain(grace_seconds)
        await self._drained
        self._loop.remove_reader(self._host.fileno())
        self._count_refused()
        for later in (self._counting, self._taking):
            if later is not None:
                later.cancel()
        self._taking = None
        left = [*self._tasks.values(), *self._noting, *self._streams.tasks()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._direct.close()
        if self._flushing is not None:
            self._flushing.cancel()
        self._host.close()

    def _take(self) -> None:
        """Take what has arrived since the last turn, and as many of the waiting calls as there is room for."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        turns = self._pipeline.admission
        now = self._loop.time()
        wait = now < self._begins_at
        room = turns.room, prices.kept_room(), turns.members_with_room, wait
        calls, gathered, events, left = self._host.take(room, _prices(), now)
        turns.waiting_at_host = left
        if not wait and (calls or gathered):
            self._begins_at = now + TOGETHER_SECONDS
        if left:
            # Usually a call ends and so makes room, and `_flush` takes the next ones. This timer is for the rest: the
            # wait for running calls is over, or a slow call has lost its place.
            later = self._begins_at if now < self._begins_at else now + admission.LOOK_SECONDS
            self._taking = self._loop.call_at(later, self._take)
        for index, authorization, together in gathered:
            self._begin_together(index, authorization, together)
        self._begin(calls)
        for name, *fields in events:
            self._on_event[name](*fields)

    def _begin_together(self, index: int, authorization: str, calls: "list[GatheredCall]") -> None:
        """Serve regular calls of a turn that have the same method and token."""
        try:
            caller = self._direct.caller(authorization)
            have_begun = caller is not None and self._direct.begin_together(self._methods[index], calls, caller)
        except Exception:
            have_begun = False  # each call then begins separately, fails in the same way, and reports it
        if not have_begun:
            self._begin([call.fields() for call in calls])

    def _begin(self, calls: list[tuple[Any, ...]]) -> None:
        """Serve the unary calls of a turn."""
        callers: dict[str, Caller | None] = {}
        for number, index, learnt, message, *fields in calls:
            method = self._methods[index]
            try:
                call = Call(*fields)
                if index in self._gathered and not isinstance(message, tuple):
                    authorization = call.authorization
                    if authorization not in callers:
                        callers[authorization] = self._direct.caller(authorization)
                    caller = callers[authorization]
                    if caller is not None:
                        message = _read(message)
                        if isinstance(message, bytes) and self._direct.begin(number, method, message, call, caller):
                            if not learnt:
                                self._learn(authorization, caller)
                            continue
                learn = None if learnt else partial(self._learn, call.authorization)
                call = call._replace(learn=learn, had_turn=True)
                self._tasks[number] = self._loop.create_task(self._serve(number, method, message, call))
            except Exception as error:
                self.fail(number, self._pipeline.outcomes.refused(method.path, fields[1], error).failure)

    async def _serve(self, number: int, method: Any, message: "Message", call: Call) -> None:
        try:
            body = message if isinstance(message, bytes) else self._later_body(message, method)
            self.answer((number,), await self._pipeline.run(method, body, call))
        except CallError as error:
            self.fail(number, error.failure)
        except Exception as error:
            self.fail(number, self._pipeline.outcomes.refused(method.path, call.request_id, error).failure)
        finally:
            self._tasks.pop(number, None)
            if self._taking is not None:
                self._flush_later()

    def _learn(self, authorization: str, caller: Caller) -> None:
        """Tell the host which member a token belongs to, so that calls with it wait for that member's turn."""
        self._host.learn(authorization, None if caller.account.role is Role.ADMIN else caller.member.id)

    def _refuse_further(self, path: str, spent: Spent, failure: Failure) -> None:
        """Have the host refuse the further unary calls of a member that sends many over a quota."""
        index = self._unary.get(path)
        if index is not None and spent.refused >= MANY_REFUSED:
            seconds_left = max(0.0, spent.until - self._loop.time())
            self._host.spend(index, spent.member_id, spent.quota, seconds_left, failed_answer(failure))

    def _count_refused(self) -> None:
        """Count what the host has refused on its own, and schedule the next count."""
        self._counting = self._loop.call_later(COUNT_SECONDS, self._count_refused)
        for index, member_id, why, count in self._host.take_refused():
            if why in admission.AT_HOST:
                reason = Reason.UNAVAILABLE
                self._pipeline.admission.count_refused(why, count)
            else:
                reason = Reason.RATE_LIMIT_EXCEEDED
                count_spent(why, count)
            self._pipeline.outcomes.refused_before(self._methods[index].path, member_id, count, reason)
        for count_refusal, refused in zip(_COUNT_REFUSALS, self._host.take_refused_connections(), strict=True):
            count_refusal(refused)

    def answer(self, numbers: Sequence[int], message: bytes) -> None:
        """Answer unary calls at the end of this turn (see `direct.Replies`)."""
        self._answers.append((numbers, message))
        self._flush_later()

    def fail(self, number: int, failure: Failure) -> None:
        """Fail a call at the end of this turn (see `direct.Replies`)."""
        try:
            answer = failed_answer(failure)
        except ValueError:
            answer = failed_answer(BARE_DEFECT)
        self._host.fail(number, answer)
        self._flush_later()

    def _later_body(self, message: "Message", method: Any) -> Callable[[float], Awaitable[bytes]]:
        """A body that is read, or raises, after the token is verified: so its failure counts for the member."""

        async def read(_: float) -> bytes:
            if isinstance(message, tuple):
                if Flaw(message[0]) is Flaw.BODY_TOO_LONG:
                    raise AudienceError(Reason.LIMIT, self._json_forms[method.path].too_large)
                raise error_of(message, self._message_limit_bytes)
            body = _read(message)
            if isinstance(body, bytes):
                return body
            raise body

        return read

    def _refuse(self, number: int, index: int | None, request_id: str, flaw: str) -> None:
        path = UNKNOWN_METHOD if index is None else self._methods[index].path
        self.fail(number, self._pipeline.outcomes.refused(path, request_id, flawed(Flaw(flaw))).failure)

    def _misread(self, number: int, index: int, text: str, *fields: Any) -> None:
        """Fail a call with a body that is not valid JSON for its method, after its token is verified."""
        serving = self._serve(number, self._methods[index], unreadable(text), Call(*fields))
        self._tasks[number] = self._loop.create_task(serving)

    def _note(self, index: int, request_id: str, authorization: str, flaw: str) -> None:
        """Record a REST call that the host has refused and answered, once its token is verified."""
        call, entrance = Call(authorization, request_id, None), self._direct.entrance
        answered = partial(self._pipeline.outcomes.answered, self._methods[index].path, request_id, flawed(Flaw(flaw)))
        caller = self._direct.caller(authorization)
        if caller is not None or not authorization or len(self._noting) >= MOST_NOTED:
            answered(caller)
            return

        async def note() -> None:
            caller = None
            with contextlib.suppress(AudienceError):
                caller = await entrance.caller(call, entrance.deadline(None, 0.0))
            answered(caller)

        noting = self._loop.create_task(note())
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    def _leave(self, number: int) -> None:
        """Cancel a call whose caller has left."""
        if self._streams.leave(number):
            return
        if task := self._tasks.pop(number, None):
            task.cancel()
        else:
            self._direct.leave(number)

    def _end_drain(self) -> None:
        self._drained.set_result(None)

    def _flush_later(self) -> None:
        """Flush at the end of this turn what was passed to the host in it."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        answers, self._answers = self._answers, []
        self._host.flush(answers)
        if self._taking is not None:
            self._take()


def _read(message: "bytes | UnreadBody | AudienceError") -> bytes | AudienceError:
    """A message, or what is wrong with its body."""
    if isinstance(message, bytes | AudienceError):
        return message
    try:
        return message.read()
    except ValueError as error:
        return unreadable(str(error))


def _prices() -> tuple[int, int, int, int, int, int]:
    """The prices of calls, as `Host.take` expects them, in parts of places: of an ordinary call; what a member's first
    call takes in addition; the size in bytes up to which a gathered call takes one part; the bytes for which a call
    takes a further place; the most that a call takes; and what a member's calls take in one turn."""
    most, more = prices.PARTS * prices.MOST_PLACES, prices.first_takes_more()
    return prices.PARTS, more, prices.SMALL_BYTES, prices.PLACE_BYTES, most, prices.turn_room()
