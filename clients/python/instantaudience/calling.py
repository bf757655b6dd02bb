"""Unary calls: token, deadline, attempts."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import grpc
from google.protobuf.message import Message

from instantaudience.credentials import Session
from instantaudience.errors import AudienceError, UnauthenticatedError, of_call, says_nothing, unreadable
from instantaudience.retrying import Attempts, Retries
from instantaudience.rules import RENEWED_REASON
from instantaudience.watching import GIVEN_UP, Watchers

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
Said = TypeVar("Said")


@dataclass(frozen=True)
class Rpc(Generic[Request, Answer, Said]):
    """A unary method."""

    path: str
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer]
    read: Callable[[Answer], Said | None]
    """Extracts the content of an answer that has `field`; None if it is missing."""
    field: str = "response"
    """The field that every answer has."""


class Calling:
    """Makes unary calls."""

    def __init__(self, session: Session, retries: Retries, watchers: Watchers) -> None:
        self._session = session
        self._retries = retries
        self.watchers = watchers
        self.failure: AudienceError | None = None
        """The error of the last attempt after which another one was to come."""

    async def call(self, rpc: Rpc[Request, Answer, Said], request: Request, deadline: float) -> Said:
        """Call a method, which must be idempotent since it may be retried; returns the answer's content. `deadline` is
        a time of `time.monotonic`.

        Raises:
            AudienceError: the call failed.
        """
        return await self.call_anew(rpc, lambda: request, deadline)

    async def call_anew(
        self, rpc: Rpc[Request, Answer, Said], requested: Callable[[], Request], deadline: float
    ) -> Said:
        """Like `call`, with a request that is made for each attempt, since it does not hold as long as the call may
        take.

        Raises:
            AudienceError: the call failed. What `requested` raises ends the call, too.
        """
        with self.watchers.call(rpc.path):
            return await self._call(rpc, requested, deadline)

    async def _call(self, rpc: Rpc[Request, Answer, Said], requested: Callable[[], Request], deadline: float) -> Said:
        request_id = uuid.uuid4().hex
        attempts = Attempts(self._retries, deadline)
        renewed = False
        while True:
            token = await self._session.token(deadline)
            request = requested()
            try:
                return await self._attempt(rpc, request, token, request_id, attempts)
            except UnauthenticatedError as error:
                if renewed or error.reason != RENEWED_REASON or not self._session.refused(token):
                    raise
                renewed = True
            except AudienceError as error:
                wait = attempts.wait_seconds(error)
                self.failure = error
                await self._session.sleep(wait)

    async def _attempt(
        self, rpc: Rpc[Request, Answer, Said], request: Request, token: str | None, request_id: str, attempts: Attempts
    ) -> Said:
        timeout = attempts.timeout()
        watched = self.watchers.attempt(rpc.path, attempts.count, request_id)
        error: AudienceError | None = GIVEN_UP
        try:
            answered = await rpc.method(request, timeout=timeout, metadata=watched.metadata(token))
            answer = cast("Answer | None", answered)  # gRPC's types know of no None
            said = rpc.read(answer) if answer is not None and answer.HasField(rpc.field) else None
            if said is None:
                error = unreadable(request_id) if answer is None else says_nothing(request_id)
                raise error
            error = None
        except grpc.aio.AioRpcError as failure:
            error = of_call(failure, request_id, self._session.certificate_end)
            raise error from None
        except asyncio.CancelledError:
            # gRPC cancels calls when the channel is closed; that is not a cancellation by the caller.
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._session.check_open()
            raise
        finally:
            watched.end(error)
        return said
