"""What every call passes before its method runs: its deadline, its token, its turn, its size, and its reading."""

import asyncio
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from instantaudience_server.admission.admission import Admission
from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.errors import unreadable
from instantaudience_server.tokens import TokenService, bare_token
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import Request
from instantaudience_server.transport.framing import too_long

SHARE_KEPT = 0.1
MOST_KEPT_SECONDS = 0.1
"""Of a caller's deadline, this share (and at most this long) is kept for the answer's way back."""


class Entrance:
    """Lets calls in. `call_timeout_seconds` is the deadline of callers that set none, and the longest that any gets;
    `body_limit_bytes` bounds each message."""

    def __init__(
        self, tokens: TokenService, admission: Admission, *, call_timeout_seconds: float, body_limit_bytes: int
    ) -> None:
        self._tokens = tokens
        self._admission = admission
        self._call_timeout_seconds = call_timeout_seconds
        self._body_limit_bytes = body_limit_bytes
        self._time = asyncio.get_running_loop().time

    def deadline(self, remaining_seconds: float | None, waited_seconds: float = 0.0) -> float:
        """When a call must be answered that came in so long ago, on the event loop's clock.

        Raises:
            AudienceError: UNAVAILABLE, its time is over.
        """
        deadline = self.deadline_ahead(remaining_seconds, waited_seconds)
        if deadline is None:
            raise self._admission.late()
        return deadline

    def deadline_ahead(self, remaining_seconds: float | None, waited_seconds: float) -> float | None:
        """As `deadline`; None where the call's time is over."""
        budget = self._call_timeout_seconds - waited_seconds
        if remaining_seconds is not None:
            budget = min(budget, remaining_seconds - min(MOST_KEPT_SECONDS, remaining_seconds * SHARE_KEPT))
        return self._time() + budget if budget > 0 else None

    async def enter(
        self,
        caller: Caller,
        deadline: float,
        waited_seconds: float = 0.0,
        *,
        had_turn: bool = False,
    ) -> Ticket | None:
        """Wait for the turn of a call that came in so long ago, or had it at its host; `leave` when it has ended. Those
        of admins come first.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        if caller.account.role is Role.ADMIN:
            return None
        return await self._admission.enter(caller.member.id, deadline, waited_seconds, had_turn=had_turn)

    def enter_at_once(self, caller: Caller, sizes: Sequence[int], waited: Sequence[float]) -> Ticket | None:
        """As `enter`, of calls with messages of these sizes that are carried out together, and have waited so long;
        None where they have to wait, or are an admin's."""
        if caller.account.role is Role.ADMIN:
            return None
        return self._admission.enter_at_once(caller.member.id, sizes, waited, in_stream=False)

    def enter_in_stream_at_once(self, caller: Caller, size: int, along: Ticket | None) -> Ticket | None:
        """As `enter_at_once`, of a stream's request with a message of this size, which may go along with the one whose
        turn it is."""
        if caller.account.role is Role.ADMIN:
            return None
        if along is not None and self._admission.go_along(along, size):
            return along
        return self._admission.enter_at_once(caller.member.id, (size,), (0.0,), in_stream=True)

    async def enter_in_stream(self, caller: Caller, deadline: float, size: int) -> Ticket | None:
        """As `enter`, of a stream's request with a message of this size; `end_turn` when no other goes along.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        if caller.account.role is Role.ADMIN:
            return None
        return await self._admission.enter(caller.member.id, deadline, in_stream=True, size_bytes=size)

    def end_turn(self, along: Ticket | None) -> None:
        """No more of a stream goes along with the request whose turn it is."""
        if along is not None and along.spare:
            self._admission.end_turn(along)

    def known(self, authorization: str) -> Caller | None:
        """Whose token a call has, where nobody need be asked."""
        return self._tokens.known(bare_token(authorization))

    def leave(self, ticket: Ticket | None, sizes: Sequence[int] = ()) -> None:
        """A call has ended, or failed to enter; of several, those with messages of these sizes, or all."""
        if ticket is not None:
            self._admission.leave(ticket, sizes)

    async def caller(self, call: Call, deadline: float) -> Caller:
        """Whose token a call has.

        Raises:
            AudienceError: NOAUTH, NOAUTH_DISABLED, UNAVAILABLE.
        """
        caller = await self._tokens.verify(bare_token(call.authorization), deadline)
        if call.learn is not None:
            call.learn(caller)
        return caller

    def check_size(self, size: int, caller: Caller) -> None:
        """Hold a request to its member's limit (source: contract, "Limits").

        Raises:
            AudienceError: LIMIT.
        """
        limit = caller.member.limits.body_bytes
        if size > limit:
            raise too_long(size, limit)

    def read(self, request: type[Request], body: bytes) -> Request:
        """The message in a body.

        Raises:
            AudienceError: LIMIT, SYNTAX.
        """
        if len(body) > self._body_limit_bytes:
            raise too_long(len(body), self._body_limit_bytes)
        try:
            return request.FromString(body)
        except DecodeError:
            raise unreadable(f"The request is not a readable {request.DESCRIPTOR.name}") from None
