"""Puts the answers to a stream's requests, which may be ready in any order, into the requests' order."""

import asyncio
from collections.abc import Sequence
from typing import Any

from instantaudience_server.transport.calls.call import request_name
from instantaudience_server.transport.calls.direct import DirectCalls
from instantaudience_server.transport.calls.kinds import StreamMethod
from instantaudience_server.transport.calls.outcomes import CallError
from instantaudience_server.transport.status import Failure


class OrderedAnswers:
    """The answers to a stream's requests, in the requests' order. Implements `direct.Replies`.

    `stream_id` is the request ID of the stream, from which those of its requests are made.
    """

    def __init__(self, method: StreamMethod[Any], stream_id: str) -> None:
        self._refuse = method.refuse
        self._naming = method.naming
        self._stream_id = stream_id
        self._results: dict[int, bytes | BaseException | None] = {}
        """By the requests' numbers, in order; None while a request is under way."""
        self._tasks: dict[int, asyncio.Task[bytes]] = {}
        self._complete = self._cut = False
        self._woken: asyncio.Future[None] | None = None
        self.next_number = 0
        """The number of the request that is read next."""

    @property
    def next_name(self) -> str:
        """The ID of the next request."""
        return request_name(self._stream_id, self.next_number)

    def expect(self) -> None:
        """Begin the next request; `answer` or `fail` will be called for it."""
        self._results[self.next_number] = None
        self.next_number += 1

    def expect_from(self, task: "asyncio.Task[bytes]") -> None:
        """Begin the next request, which is served by a task."""
        number = self.next_number
        self._tasks[number] = task
        task.add_done_callback(lambda task: self._end(number, _outcome(task)))
        self.expect()

    def complete(self, *, cut: bool) -> None:
        """No request follows. `cut`: `wait` ends at the first answer that is not ready."""
        self._complete, self._cut = True, cut
        self._wake()

    def answer(self, numbers: Sequence[int], message: bytes) -> None:
        """Answer requests (see `direct.Replies`)."""
        for number in numbers:
            self._end(number, message)

    def fail(self, number: int, failure: Failure) -> None:
        """Fail a request (see `direct.Replies`)."""
        result: bytes | BaseException = CallError(failure)
        if self._refuse is not None:
            try:
                result = self._refuse(failure).SerializeToString(deterministic=True)
            except Exception as error:
                result = error
        self._end(number, result)

    async def wait(self) -> bool:
        """Wait until the next answer is ready; returns False if there are no more."""
        while True:
            number = next(iter(self._results), None)
            if number is not None and self._results[number] is not None:
                return True
            if self._complete and (number is None or self._cut):
                return False
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken

    def take(self) -> bytes:
        """The next answer.

        Raises:
            CallError: the request failed, and so does the stream.
        """
        number = next(iter(self._results))
        result = self._results.pop(number)
        self._tasks.pop(number, None)
        if isinstance(result, bytes):
            # Concatenated protobuf messages decode as one message with the fields of both.
            if self._naming is not None:
                result += self._naming(request_name(self._stream_id, number))
            return result
        assert result is not None
        raise result

    async def cancel(self, direct: DirectCalls) -> None:
        """Cancel all requests under way, even if the caller of this is cancelled meanwhile."""
        for number in self._results:
            direct.leave(number)
        try:
            if self._tasks:
                await asyncio.sleep(0)  # let each task start: cancelled before, it would not give back its ticket
        finally:
            for task in self._tasks.values():
                task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _end(self, number: int, result: bytes | BaseException) -> None:
        if number in self._results:
            self._results[number] = result
            self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


def _outcome(task: "asyncio.Task[bytes]") -> bytes | BaseException:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()
