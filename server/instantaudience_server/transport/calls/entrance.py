"""Admits calls: sets deadlines, verifies tokens, waits for turns, checks sizes, and decodes requests."""

import asyncio
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from instantaudience_server.admission.admission import Admission
from instantaudience_server.admission.queues import Ticket
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Role
from instantaudience_server.errors import unreadable
from instantaudience_server.sign_in.tokens import TokenService, bare_token
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import Request
from instantaudience_server.transport.framing import too_long

SHARE_KEPT = 0.1
MOST_KEPT_SECONDS = 0.1
"""The share of a caller's remaining time that is kept for the answer's way back, and its upper bound."""


class Entrance:
    """Admits calls.

    `call_timeout_seconds` is the longest that a call may take, and the time of calls without a deadline.
    `body_limit_bytes` is the limit of each message.
    """

    def __init__(
        self, tokens: TokenService, admission: Admission, *, call_timeout_seconds: float, body_limit_bytes: int
    ) -> None:
        self._tokens = tokens
        self._admission = admission
        self._call_timeout_seconds = call_timeout_seconds
        self._body_limit_bytes = body_limit_bytes
        self._time = asyncio.get_running_loop().time

    def deadline(self, remaining_seconds: float | None, waited_seconds: float = 0.0) -> float:
        """When a call that came in `waited_seconds` ago must be answered, on the event loop's clock in seconds.

        Raises:
            AudienceError: UNAVAILABLE, when its time is over.
        """
        deadline = self.deadline_ahead(remaining_seconds, waited_seconds)
        if deadline is None:
            raise self._admission.late()
        return deadline

    def deadline_ahead(self, remaining_seconds: float | None, waited_seconds: float) -> float | None:
        """As `deadline`, but None when the call's time is over."""
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
        """Wait for the turn of a call that came in `waited_seconds` ago; pass the ticket to `leave` when it has ended.

        `had_turn`: the call has waited for its turn at its host. Calls of admins do not wait, and get None.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        if caller.account.role is Role.ADMIN:
            return None
        return await self._admission.enter(caller.member.id, deadline, waited_seconds, had_turn=had_turn)

    def enter_at_once(self, caller: Caller, sizes: Sequence[int], waited: Sequence[float]) -> Ticket | None:
        """As `enter`, for calls that are carried out together; None if they would have to wait, or are an admin's.

        `sizes` are the bytes of their messages, `waited` the seconds since each came in.
        """
        if caller.account.role is Role.ADMIN:
            return None
        return self._admission.enter_at_once(caller.member.id, sizes, waited, in_stream=False)

    def enter_in_stream_at_once(self, caller: Caller, size: int, along: Ticket | None) -> Ticket | None:
        """As `enter_at_once`, for a stream's request with a message of `size` bytes. `along` is the ticket of the
        request whose turn it is; if there is room in that turn, it is returned for this request too."""
        if caller.account.role is Role.ADMIN:
            return None
        if along is not None and self._admission.go_along(along, size):
            return along
        return self._admission.enter_at_once(caller.member.id, (size,), (0.0,), in_stream=True)

    async def enter_in_stream(self, caller: Caller, deadline: float, size: int) -> Ticket | None:
        """As `enter`, for a stream's request with a message of `size` bytes. Pass the ticket to `end_turn` when no
        other request is to go along.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        if caller.account.role is Role.ADMIN:
            return None
        return await self._admission.enter(caller.member.id, deadline, in_stream=True, size_bytes=size)

    def end_turn(self, along: Ticket | None) -> None:
        """End the turn of a stream: no further request goes along with the one that has this ticket."""
        if along is not None and along.spare:
            self._admission.end_turn(along)

    def known(self, authorization: str) -> Caller | None:
        """The caller with this credential, if that is known without asking the cluster."""
        return self._tokens.known(bare_token(authorization))

    def leave(self, ticket: Ticket | None, sizes: Sequence[int] = ()) -> None:
        """Give back the ticket of a call that has ended. A ticket of several calls is given back for those with
        messages of these sizes, or for all."""
        if ticket is not None:
            self._admission.leave(ticket, sizes)

    async def caller(self, call: Call, deadline: float) -> Caller:
        """Verify a call's token; returns its caller.

        Raises:
            AudienceError: NOAUTH, NOAUTH_DISABLED, UNAVAILABLE.
        """
        caller = await self._tokens.verify(bare_token(call.authorization), deadline)
        if call.learn is not None:
            call.learn(caller)
        return caller

    def check_size(self, size: int, caller: Caller) -> None:
        """Check the size of a request against its member's limit (source: contract, "Limits").

        Raises:
            AudienceError: LIMIT.
        """
        limit = caller.member.limits.body_bytes
        if size > limit:
            raise too_long(size, limit)

    def read(self, request: type[Request], body: bytes) -> Request:
        """Decode a request.

        Raises:
            AudienceError: LIMIT, SYNTAX.
        """
        if len(body) > self._body_limit_bytes:
            raise too_long(len(body), self._body_limit_bytes)
        try:
            return request.FromString(body)
        except DecodeError:
            raise unreadable(f"The request is not a readable {request.DESCRIPTOR.name}") from None
