"""The asynchronous client."""

import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import fields, replace
from functools import partial
from types import TracebackType
from typing import Self

import grpc

from instantaudience.calling import Calling, Rpc
from instantaudience.credentials import Credentials, KeyPair, Password, Session, Tls, Token, issued
from instantaudience.endpoint import check
from instantaudience.errors import AudienceError, InvalidRequestError
from instantaudience.pacing import Pacer
from instantaudience.processes import Process
from instantaudience.retrying import Retries
from instantaudience.rules import (
    DEADLINE_MS,
    FIRST_PAUSE_MS,
    PING_ANSWER_MS,
    PING_EVERY_MS,
    RECEIVE_BYTES,
    STREAM_WINDOW,
)
from instantaudience.splitting import Limits, joined, split
from instantaudience.streaming import (
    Requests,
    Source,
    Streaming,
    Users,
    source_of_requests,
    source_of_users,
)
from instantaudience.turns import Shared
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import authentication_pb2, catalog_pb2
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.authentication_pb2_grpc import AuthenticationServiceStub
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from instantaudience.watching import OnAttempt, Telemetry, Watchers
from instantaudience.window import StreamResult

DEADLINE_SECONDS = DEADLINE_MS / 1000
"""Default deadline of a call, all attempts together."""

_AUDIENCE = "/instantaudience.v1.AudienceService/"
_AUTHENTICATION = "/instantaudience.v1.AuthenticationService/"
_CATALOG = "/instantaudience.v1.CatalogService/"
_OPTIONS = (
    ("grpc.max_receive_message_length", RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", PING_EVERY_MS),
    ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
    ("grpc.http2.ping_timeout_ms", PING_ANSWER_MS),  # what newer grpcio goes by
    ("grpc.http2.max_pings_without_data", 0),
)
_MOST_OPTION = 2**31 - 1
"""gRPC's options are numbers of 32 bits."""


class _Methods:
    """The stubs of the methods that the client calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        audience, catalog = AudienceServiceStub(channel), CatalogServiceStub(channel)
        authentication = AuthenticationServiceStub(channel)
        self.apply = Rpc(_AUDIENCE + "ApplySegments", audience.ApplySegments, lambda answer: answer.response)
        self.stream = audience.StreamSegments
        self.batch_get = Rpc(
            _AUDIENCE + "BatchGetMemberships", audience.BatchGetMemberships, lambda answer: answer.response
        )
        self.sign_in = Rpc(_AUTHENTICATION + "Authenticate", authentication.Authenticate, issued)
        self.sign_in_by_key = Rpc(_AUTHENTICATION + "AuthenticateWithJwt", authentication.AuthenticateWithJwt, issued)
        self.get_user = Rpc(_CATALOG + "GetUser", catalog.GetUser, lambda answer: answer.user, "user")
        self.get_member = Rpc(_CATALOG + "GetMember", catalog.GetMember, lambda answer: answer.member, "member")


class AsyncClient:
    """Puts users into segments, and reads memberships.

    The client signs in with the first call and renews the token before it ends; retries what is safe and useful to
    retry, within the caller's deadline; keeps to the member's quota; and splits requests that are too large. All calls
    of a client share one connection and one token, so make one client and keep it. A client belongs to one event loop
    and thread. It cannot be used in processes that are forked later: there it raises RuntimeError.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        *,
        tls: Tls | None = None,
        plaintext: bool = False,
        limits: Limits | None = None,
        retries: Retries | None = None,
        window: int = STREAM_WINDOW,
        on_attempt: OnAttempt | None = None,
        telemetry: Telemetry | None = None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        """Create a client; the connection is made by the first call.

        Args:
            endpoint: `host:port`, with brackets around an IPv6 address.
            credentials: who signs in.
            tls: how the connection is secured; by default, with TLS and gRPC's root certificates.
            plaintext: use no TLS.
            limits: the member's limits; by default, they are requested from the service once.
            retries: the pauses between attempts.
            window: the maximum number of a stream's requests in flight.
            on_attempt: is called after every attempt of a call.
            telemetry: follows calls, such as `OpenTelemetry`.
            interceptors: gRPC interceptors.

        Raises:
            ValueError: an endpoint that is none, both `tls` and `plaintext`, or a `window` or a limit below 1.
            RuntimeError: this process was forked from one that had a client.
        """
        Process()
        check(endpoint)
        if plaintext and tls is not None:
            raise ValueError("tls and plaintext exclude each other")
        if not window >= 1:
            raise ValueError("a stream's window is 1 at least")
        if limits is not None:
            limits.check()
        retries = retries or Retries()
        tls = None if plaintext else tls or Tls()
        certificate_end = None if tls is None else tls.certificate_end
        self._channel = _channel(endpoint, tls, retries, interceptors)
        self._credentials = credentials
        self._limits = limits
        token = credentials.token if isinstance(credentials, Password | Token) else None
        signs_in = isinstance(credentials, Password | KeyPair)
        signing_in = self._sign_in if signs_in else None
        self._session = Session(signing_in, token, certificate_end, retries, lambda: self._public.failure)
        self._asking = Shared(self._obtain_limits, retries, self._session.sleep, self._why_no_limits)
        self._pacer = Pacer(sleep=self._session.sleep)
        self._reading = Pacer(sleep=self._session.sleep)
        self._methods = _Methods(self._channel)
        watchers = Watchers(on_attempt, telemetry)
        self._calling = Calling(self._session, retries, watchers)
        self._public_session = Session(None, None, certificate_end)
        self._public = Calling(self._public_session, retries, watchers)
        self._streaming = Streaming(self._methods.stream, watchers, self._session, self._pacer, retries, window)

    async def __aenter__(self) -> Self:
        """The client itself, which is closed at the end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; current and later calls fail with UnavailableError."""
        await self._session.close()
        await self._public_session.close()
        await self._asking.close()
        self._streaming.close()
        await self._channel.close()

    async def apply(
        self,
        users: Iterable[pb.RtSegment],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        validate_only: bool = False,
    ) -> pb.ApplySegmentsResult:
        """Put users into segments and take them out; returns once everything is written.

        Users that do not fit into one request are sent in several, one after the other, and the results are combined.
        An invalid user or block is skipped with a warning. If a request fails, earlier ones may have been applied; it
        is safe to call again with the same users.

        Raises:
            AudienceError: the call failed; see its subclasses.
        """
        deadline = _deadline(deadline_seconds)
        limits = await self.limits(deadline_seconds=deadline_seconds)
        parts = split(users, limits.of_calls)
        results: list[pb.ApplySegmentsResult] = []
        for part in parts:
            await self._pacer.wait(len(part.users), limits, deadline)
            request = part.request(validate_only=validate_only)
            results.append(await self._calling.call(self._methods.apply, request, deadline))
        return joined(parts, results)

    def stream(self, users: Users, *, patience_seconds: float = DEADLINE_SECONDS) -> AsyncGenerator[StreamResult, None]:
        """Put any number of users into segments; yields a result for each request, in order.

        Users are read only as fast as they can be sent, so memory stays bounded. Users that come slowly go together
        with those of the next 0.2 s at most. A failed request is retried, if that is useful, keeping the order of each
        user's changes, until `patience_seconds` have passed without progress. Time spent waiting for users, or in which
        the process is stopped, does not count.

        Raises:
            AudienceError: there was no progress for too long, or signing in failed.
        """
        return self._stream(partial(source_of_users, users), patience_seconds)

    def stream_requests(
        self, requests: Requests, *, patience_seconds: float = DEADLINE_SECONDS
    ) -> AsyncGenerator[StreamResult, None]:
        """Like `stream`, for users that are in requests already, which costs less per user.

        A request within the member's limits is sent as it is, and has one result; the users of a larger one are sent in
        several, with its other fields. `first_user` of a result counts the users of all requests.

        Raises:
            AudienceError: as `stream`.
        """
        return self._stream(partial(source_of_requests, requests), patience_seconds)

    async def memberships(
        self, user_ids: Sequence[str | int], *, domain: str | None = None, deadline_seconds: float = DEADLINE_SECONDS
    ) -> list[pb.UserMemberships]:
        """The current memberships of any number of users, in the order of `user_ids`.

        Users that do not fit into one request are read in several, one after the other.

        Raises:
            AudienceError: the call failed; InvalidRequestError for an ID that is not valid in its domain.
            TypeError: `user_ids` is a single ID.
        """
        if isinstance(user_ids, str):  # A sequence of text, too: its characters would be the users.
            raise TypeError("user_ids is a sequence of IDs; for one user, a list with one")
        deadline = _deadline(deadline_seconds)
        self._session.check_open()
        # One user is read at once, without a question for the limits.
        limits = await self.limits(deadline_seconds=deadline_seconds) if len(user_ids) > 1 else None
        size = 1 if limits is None else limits.users_per_read
        users: list[pb.UserMemberships] = []
        for first in range(0, len(user_ids), size):
            asked = [
                pb.GetMembershipsRequest(user_id=str(user_id), domain=domain or "")
                for user_id in user_ids[first : first + size]
            ]
            if limits is not None:
                await self._reading.wait(len(asked), limits.of_reads, deadline)
            rpc = replace(self._methods.batch_get, read=partial(_memberships_of, len(asked)))
            request = pb.BatchGetMembershipsRequest(users=asked)
            users.extend((await self._calling.call(rpc, request, deadline)).rt_segment)
        return users

    async def limits(self, *, deadline_seconds: float = DEADLINE_SECONDS) -> Limits:
        """The member's limits: as given to the client, or as requested from the service, once.

        Raises:
            AudienceError: the call failed.
        """
        self._session.check_open()
        return await self._asking.value(lambda: self._limits, _deadline(deadline_seconds))

    async def _stream(
        self, source: Callable[[Limits], Source], patience_seconds: float
    ) -> AsyncGenerator[StreamResult, None]:
        limits = await self.limits(deadline_seconds=patience_seconds)
        async with aclosing(self._streaming.apply(source(limits), limits, patience_seconds)) as results:
            async for result in results:
                yield result

    async def _obtain_limits(self, deadline: float) -> Limits:
        self._limits = await self._ask_limits(deadline)
        return self._limits

    def _why_no_limits(self) -> AudienceError | None:
        return self._calling.failure or self._public.failure

    async def _ask_limits(self, deadline: float) -> Limits:
        token = await self._session.token(deadline)
        if token is None:
            return Limits()
        try:
            # hbapi:<user id>:<random hex>:<location>
            whose = catalog_pb2.GetUserRequest(id=int(token.split(":")[1]))
        except (IndexError, ValueError):
            raise InvalidRequestError("the token is none of this service's") from None
        user = await self._calling.call(self._methods.get_user, whose, deadline)
        asked = catalog_pb2.GetMemberRequest(id=user.member_id)
        limits = (await self._calling.call(self._methods.get_member, asked, deadline)).limits
        names = (field.name for field in fields(Limits))
        return Limits(**{name: getattr(limits, name) for name in names if limits.HasField(name)})

    async def _sign_in(self, deadline: float) -> tuple[str, float]:
        credentials = self._credentials
        if isinstance(credentials, KeyPair):

            def by_key() -> authentication_pb2.AuthenticateWithJwtRequest:
                return authentication_pb2.AuthenticateWithJwtRequest(jwt=credentials.assertion(time.time()))

            return await self._public.call_anew(self._methods.sign_in_by_key, by_key, deadline)
        assert isinstance(credentials, Password)
        auth = authentication_pb2.Credentials(username=credentials.username, password=credentials.password)
        by_password = authentication_pb2.AuthenticateRequest(auth=auth)
        return await self._public.call(self._methods.sign_in, by_password, deadline)


def _memberships_of(count: int, answer: pb.BatchGetMembershipsResponse) -> pb.GetMembershipsResult | None:
    """The content of an answer about this many users; None if it is about more or fewer."""
    return answer.response if len(answer.response.rt_segment) == count else None


def _deadline(seconds: float) -> float:
    """The time of `time.monotonic` in this many seconds.

    Raises:
        ValueError: `seconds` is NaN.
    """
    if math.isnan(seconds):
        raise ValueError("how long a call may take is a number of seconds, not NaN")
    return time.monotonic() + seconds


def _channel(
    endpoint: str, tls: Tls | None, retries: Retries, interceptors: Sequence[grpc.aio.ClientInterceptor]
) -> grpc.aio.Channel:
    options = (
        *_OPTIONS,
        ("grpc.initial_reconnect_backoff_ms", _reconnect_ms(retries.first_seconds)),
        ("grpc.max_reconnect_backoff_ms", _reconnect_ms(retries.most_seconds)),
    )
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options, interceptors=interceptors)
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
    return grpc.aio.secure_channel(endpoint, credentials, options, interceptors=interceptors)


def _reconnect_ms(pause_seconds: float) -> int:
    """gRPC's pause before it connects again, for a pause between attempts. Without any, it would connect on and on."""
    return int(max(FIRST_PAUSE_MS, min(pause_seconds * 1000, _MOST_OPTION)))
