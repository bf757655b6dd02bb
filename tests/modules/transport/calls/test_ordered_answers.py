"""The answers to a stream's requests; their order is of tests/modules/memberships/test_streams.py."""

import asyncio
from types import SimpleNamespace

import pytest
from instantaudience_server.transport.calls.ordered_answers import OrderedAnswers


async def test_no_request_goes_on_when_its_stream_is_cancelled_twice() -> None:
    """Its deadline is over, and its caller leaves meanwhile."""

    async def hang() -> bytes:
        await asyncio.Event().wait()
        return b""

    answers = OrderedAnswers(SimpleNamespace(refuse=None, naming=None), "r-1")  # type: ignore[arg-type]
    request = asyncio.create_task(hang())
    answers.expect_from(request)
    cancelling = asyncio.create_task(answers.cancel(SimpleNamespace(leave=lambda number: None)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    cancelling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelling
    await asyncio.wait([request], timeout=10)
    assert request.cancelled()
