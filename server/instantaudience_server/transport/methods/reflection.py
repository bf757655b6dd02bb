"""Server reflection: v1, and v1alpha for older clients. It needs no token.

Source: doc/server-reflection.md in grpc/grpc. Both versions have the same messages; only their package differs.
"""

from collections.abc import AsyncIterator
from typing import Any

import instantaudience.v1.errors_pb2  # noqa: F401 - callers may ask for it, though no method refers to it
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from instantaudience_server.errors import unavailable
from instantaudience_server.transport.calls.kinds import AnyMethod, PublicStreamMethod

MOST_STREAMS = 32
"""The most reflection streams that a worker serves at once. They need no token, and their answers are large: a stream
whose answers are not read takes some 400 KB of memory."""


class _Symbols:
    """The default descriptor pool, extended by the lookup of methods, which gRPC's own reflection lacks."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """The file that defines a message, an enum, a field, a service, or a method of one.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service_name, _, method_name = symbol.rpartition(".")
            service = self._pool.FindServiceByName(service_name)
            if method_name not in service.methods_by_name:
                raise
            return service.file


def reflection_methods(services: tuple[str, ...]) -> list[AnyMethod]:
    """The methods of both versions; they list `services` and the reflection services."""
    older = reflection_pb2.DESCRIPTOR
    names = [service.full_name for file in (older, _newer(older)) for service in file.services_by_name.values()]
    reflection = ReflectionServicer([*services, *names], _Symbols())  # type: ignore[no-untyped-call]

    streams = 0

    async def reflect(requests: AsyncIterator[reflection_pb2.ServerReflectionRequest]) -> AsyncIterator[Message]:
        nonlocal streams
        if streams >= MOST_STREAMS:
            raise unavailable("others have all streams that there are for reflection")
        streams += 1
        try:
            async for request in requests:
                for answer in reflection.ServerReflectionInfo((request,), None):  # type: ignore[no-untyped-call]
                    yield answer
        finally:
            streams -= 1

    return [
        PublicStreamMethod(f"/{name}/ServerReflectionInfo", reflection_pb2.ServerReflectionRequest, reflect)
        for name in names
    ]


def _newer(older: FileDescriptor) -> FileDescriptor:
    """The proto file of v1, which gRPC's Python package lacks, made from that of v1alpha."""
    pool = descriptor_pool.Default()
    newer = descriptor_pb2.FileDescriptorProto()
    older.CopyToProto(newer)
    newer.ClearField("options")
    newer.name, newer.package = _renamed(newer.name), _renamed(newer.package)
    for message in newer.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = _renamed(field.type_name)
    for service in newer.service:
        for method in service.method:
            method.input_type, method.output_type = _renamed(method.input_type), _renamed(method.output_type)
    pool.Add(newer)
    return pool.FindFileByName(newer.name)


def _renamed(name: str) -> str:
    return name.replace("v1alpha", "v1")
