"""The commands' gRPC client of CatalogService and UsageService."""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience.v1 import usage_pb2
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub

from instantaudience_server.transport.status import FIELD, STATUS_DETAILS_KEY

TIMEOUT_SECONDS = 30.0
KEEPALIVE_MS = 20_000
"""How long a connection may be silent before it is pinged: an import has no deadline that would notice a dead one."""


_catalog_on: Callable[[grpc.Channel], Any] = CatalogServiceStub
_usage_on: Callable[[grpc.Channel], Any] = UsageServiceStub


class CallFailedError(Exception):
    """A call failed.

    `code` is the name of the gRPC status code, `reason` the `error_id`, and `field` the path of the request's field at
    fault; "" if the service gave none. `retry_seconds` is how long the service asks to wait before a retry, or None.
    """

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(error.details() or "")
        self.code: str = error.code().name
        self.reason = self.field = ""
        self.retry_seconds: int | None = None
        metadata: Any = error.trailing_metadata() or ()
        for key, value in metadata:
            if key == STATUS_DETAILS_KEY:
                self._read(status_pb2.Status.FromString(value))

    def _read(self, status: status_pb2.Status) -> None:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason, self.field = info.reason, info.metadata.get(FIELD, "")
            elif detail.Unpack(retry):
                self.retry_seconds = retry.retry_delay.seconds


class ServiceClient:
    """A connection to the service, opened with the first call.

    `endpoint` is `host:port`. With TLS, `authorities` (PEM) are the trusted CA certificates, by default those of gRPC.
    `certificate` and `key` (PEM) are the client certificate; calls without a token are made as the user that it names.
    """

    def __init__(
        self, endpoint: str, authorities: bytes | None, certificate: bytes | None, key: bytes | None, *, secure: bool
    ) -> None:
        # A usage report may be of any size.
        options = (("grpc.keepalive_time_ms", KEEPALIVE_MS), ("grpc.max_receive_message_length", -1))
        self._channel = (
            grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(authorities, key, certificate), options)
            if secure
            else grpc.insecure_channel(endpoint, options)
        )
        self._catalog = _catalog_on(self._channel)
        self._usage = _usage_on(self._channel)

    def __enter__(self) -> "ServiceClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(self, method: str, request: Message, token: str | None) -> Any:
        """Call the unary method of CatalogService with this name; returns its answer.

        Raises:
            CallFailedError: the call failed.
        """
        return _called(getattr(self._catalog, method), request, token)

    def get_usage(self, request: usage_pb2.GetUsageRequest, token: str | None) -> usage_pb2.GetUsageResponse:
        """Call UsageService.GetUsage.

        Raises:
            CallFailedError: the call failed.
        """
        answer: usage_pb2.GetUsageResponse = _called(self._usage.GetUsage, request, token)
        return answer

    def import_catalog(
        self, requests: Iterable[pb.ImportCatalogRequest], token: str | None
    ) -> Iterator[pb.ImportCatalogResponse]:
        """Call ImportCatalog; yields the answers in order. Requests are taken from the iterable as they can be sent.

        Raises:
            CallFailedError: the call failed.
        """
        try:
            yield from self._catalog.ImportCatalog(iter(requests), metadata=_metadata(token))
        except grpc.RpcError as error:
            raise CallFailedError(error) from None


def _called(method: Any, request: Message, token: str | None) -> Any:
    try:
        return method(request, metadata=_metadata(token), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        raise CallFailedError(error) from None


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", token),)
