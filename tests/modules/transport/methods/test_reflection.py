"""Reflection, as any host calls it. (What it answers is in tests/service/grpc.)"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import cast

import pytest
from google.protobuf.message import Message
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.transport.calls.kinds import PublicStreamMethod
from instantaudience_server.transport.methods.reflection import MOST_STREAMS, reflection_methods


async def asked() -> AsyncIterator[ServerReflectionRequest]:
    yield ServerReflectionRequest(list_services="")


async def test_it_has_so_many_streams_of_both_versions_together() -> None:
    """Anybody may call it, without a token: answers that nobody read had taken a worker's memory."""
    methods = [cast("PublicStreamMethod[ServerReflectionRequest]", each) for each in reflection_methods(())]

    def stream(number: int) -> AsyncGenerator[Message, None]:
        return cast("AsyncGenerator[Message, None]", methods[number % 2].handle(asked()))

    async with AsyncExitStack() as stack:
        for number in range(MOST_STREAMS):
            assert await anext(await stack.enter_async_context(aclosing(stream(number))))
        for number in range(2):
            with pytest.raises(AudienceError) as error:
                await anext(stream(number))
            assert error.value.reason is Reason.UNAVAILABLE
    assert await anext(stream(0))
