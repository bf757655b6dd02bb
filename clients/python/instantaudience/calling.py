"""One call of the service, from its request to its answer: token, deadline, attempts, hooks."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import Message

from instantaudience.credentials import Session
from instantaudience.errors import AudienceError, UnauthenticatedError, of_call
from instantaudience.retrying import Attempts, Retries
from instantaudience.rules import RENEWED_REASON

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Attempt:
    """What became of an attempt of a call, for `on_attempt`: for metrics and logs."""

    method: str
    """Its path: `/instantaudience.v1.AudienceService/ApplySegments`."""
    number: int
    """Which attempt of the call it was, from 1."""
    code: grpc.StatusCode
    reason: str
    """The reason that the service gave, as listed in errors.proto; "" where it gave none."""
    seconds: float
    request_id: str


OnAttempt = Callable[[Attempt], None]


@dataclass(frozen=True)
class Rpc(Generic[Request, Answer]):
    """A unary method: its path, and what calls it."""

    path: str
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer]


class Calling:
    """Makes calls."""

    def __init__(self, session: Session, retries: Retries, on_attempt: OnAttempt | None) -> None:
        self._session = session
        self._retries = retries
        self._on_attempt = on_attempt

    async def call(self, rpc: Rpc[Request, Answer], request: Request, deadline: float) -> Answer:
        """The answer; sent again where that is safe: everything that is called here is idempotent.

        The deadline is a time of `time.monotonic`.

        Raises:
            AudienceError: the call failed.
        """
        request_id = uuid.uuid4().hex
        attempts = Attempts(self._retries, deadline)
        renewed = False
        while True:
            token = await self._session.token(deadline)
            try:
                return await self.attempt(rpc, request, metadata(token, request_id), attempts)
            except UnauthenticatedError as error:
                if renewed or error.reason != RENEWED_REASON or not self._session.refused(token):
                    raise
                renewed = True
            except AudienceError as error:
                await asyncio.sleep(attempts.wait_seconds(error))

    async def attempt(
        self, rpc: Rpc[Request, Answer], request: Request, sent: Metadata, attempts: Attempts
    ) -> Answer:
        """The answer of one attempt.

        Raises:
            AudienceError: it failed.
        """
        timeout, began = attempts.timeout(), time.monotonic()
        request_id = dict(sent)["x-request-id"]
        try:
            answer = await rpc.method(request, timeout=timeout, metadata=tuple(sent))
        except grpc.aio.AioRpcError as failure:
            error = of_call(failure, request_id)
            self.tell(rpc.path, attempts.count, began, request_id, error)
            raise error from None
        self.tell(rpc.path, attempts.count, began, request_id, None)
        return answer

    def tell(self, path: str, number: int, began: float, request_id: str, error: AudienceError | None) -> None:
        """Tell who wants to know what became of an attempt."""
        if self._on_attempt is not None:
            code, reason = (grpc.StatusCode.OK, "") if error is None else (error.code, error.reason)
            self._on_attempt(Attempt(path, number, code, reason, time.monotonic() - began, request_id))


def metadata(token: str | None, request_id: str) -> Metadata:
    """What goes with a call."""
    mine = (("x-request-id", request_id),)
    return mine if token is None else (*mine, ("authorization", token))
