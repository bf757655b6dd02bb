"""The client that commands use: REST and gRPC, with sign-in."""

import contextlib
import hashlib
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx
from google.protobuf.message import Message
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience.v1 import usage_pb2

from instantaudience_server.commands.connection.answers import (
    AwayError,
    Response,
    TokenRefusedError,
    and_so,
    response_of,
    told,
)
from instantaudience_server.commands.connection.demo import Credentials, demo_credentials
from instantaudience_server.commands.connection.profiles import may_be_token, own_directory, write_secret
from instantaudience_server.commands.connection.reaching import (
    REACH_SECONDS,
    endpoint_of,
    is_loopback,
    reach,
    service_url,
)
from instantaudience_server.commands.connection.tls import Tls
from instantaudience_server.transport.client import CallFailedError, ServiceClient

TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 1000
MOST_WAITS = 30
"""Maximum number of consecutive waits for a rate limit."""

SIGN_IN_HINT = "`instant-audience login`, or set INSTANT_AUDIENCE_TOKEN, or INSTANT_AUDIENCE_USERNAME and …_PASSWORD"
DENIED_HINT = "sign in as a user that may do this: `instant-audience login`, or --as"

REFUSALS = {
    "CERTIFICATE_EXPIRED": "the certificate of --cert has ended, or not begun yet: show another one",
    "CERTIFICATE_REVOKED": "the certificate of --cert is revoked: show another one",
    "UNKNOWN_CA": "the service does not know who signed the certificate of --cert: show another one",
    "CERTIFICATE_REQUIRED": "the service wants to see a certificate: --cert FILE",
}
"""What to do where a service refuses the client certificate, by the alert (source: RFC 8446, 6.2)."""

Result = TypeVar("Result")


class Client:
    """Calls the service, and signs in when necessary; tokens are stored for later commands.

    Without token and credentials, the client certificate in `tls` identifies the caller; without a certificate, and for
    a service on this machine only, the client signs in as a user of the demo catalog. `profile` is the profile that the
    token comes from; `tls` is only used with https:// URLs.

    Every method raises click.ClickException if the call fails; the message says why and what to do.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        credentials: Credentials | None,
        demo_username: str = "demo",
        profile: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._where = service_url(url)
        # Loading the CA certificates takes a seventh of a command's start-up time, so it is done for https:// only.
        self._is_secure = self._where.scheme == "https"
        self.tls = tls or Tls()
        verify = self.tls.context() if self._is_secure else False
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, verify=verify)
        self.url = url
        self._is_reached = False
        self._token = token
        self._credentials = credentials
        self._demo_username = demo_username
        self._profile = profile
        self._is_named = self._is_secure and self.tls.cert is not None and token is None and credentials is None
        self._closing = contextlib.ExitStack()
        self._grpc: ServiceClient | None = None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._closing.close()

    def call(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        """Make a REST call; returns the `response` object of the body."""
        return self._signed_in(lambda token: response_of(self._send(method, path, token, **kwargs)))

    @property
    def credentials(self) -> Credentials | None:
        """What it signs in with when a token has ended; None if it does not sign in.

        Raises:
            click.ClickException: nothing says who calls.
        """
        return None if self._is_named or self._token is not None else self._required_credentials()

    def token(self) -> str | None:
        """A valid token, for use by another client; None if the certificate identifies the caller."""
        if self._is_named:
            return None

        def asked(token: str | None) -> str | None:
            assert token is not None
            self._connected().call("GetUser", pb.GetUserRequest(id=user_id_in(token)), token)
            return token

        return self._patiently(asked)

    def upload(self, path: str, pieces: Iterator[bytes]) -> None:
        """Upload a file to a URL of the batch service, in chunks.

        Raises:
            AwayError: the service is unavailable.
            click.ClickException: the file was refused.
        """
        try:
            answer = self._http.put(path, content=pieces, timeout=httpx.Timeout(TIMEOUT_SECONDS, read=None, write=None))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        response = Response(answer)
        if "errors" in response:  # whoever takes files has a shape of its own
            raise click.ClickException(told(answer, f"{response['error_code']}: {response['errors'][0]}"))
        response_of(answer)

    def catalog(self, method: str, request: Message) -> Any:
        """Call a unary method of CatalogService by name; waits for rate limits."""
        return self._patiently(lambda token: self._connected().call(method, request, token))

    def usage(self, request: usage_pb2.GetUsageRequest) -> usage_pb2.GetUsageResponse:
        """Call GetUsage; waits for rate limits."""
        return self._patiently(lambda token: self._connected().get_usage(request, token))

    def _patiently(self, attempt: Callable[[str | None], Result]) -> Result:
        """The result of an attempt, signed in; waits for rate limits."""
        waits = 0
        while True:
            try:
                return self._signed_in(attempt)
            except CallFailedError as error:
                seconds = error.retry_seconds
                if error.reason != "RATE_LIMIT_EXCEEDED" or seconds is None or waits == MOST_WAITS:
                    raise self._explained(error) from None
            time.sleep(seconds)
            waits += 1

    def pages(self, method: str, request: Any, field: str) -> Iterator[Any]:
        """All objects that a List method returns, page by page; `field` is the responses' field that holds them."""
        while True:
            request.page_size = PAGE_SIZE
            answer = self.catalog(method, request)
            yield from getattr(answer, field)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    def import_catalog(self, requests: Iterable[pb.ImportCatalogRequest]) -> Iterator[pb.ImportCatalogResponse]:
        """Call ImportCatalog; yields the responses in order."""
        try:
            # An empty import first: it fails at once for callers without permission, and replaces an expired token.
            self._signed_in(lambda token: list(self._connected().import_catalog([pb.ImportCatalogRequest()], token)))
            yield from self._signed_in(lambda token: self._connected().import_catalog(requests, token))
        except CallFailedError as error:
            raise self._explained(error) from None

    def _signed_in(self, attempt: Callable[[str | None], Result]) -> Result:
        """The result of an attempt with a valid token, or without one if the certificate identifies the caller."""
        if self._is_named:
            return attempt(None)
        if self._token is not None:
            return self._with_given(self._token, attempt)
        kept = _kept_token(self.url, self._required_credentials())
        token = ""
        with contextlib.suppress(OSError, UnicodeDecodeError):  # there is none, or none that this user may read
            token = kept.read_text()
        if may_be_token(token):
            try:
                return attempt(token)
            except TokenRefusedError:
                pass  # it has ended
            except CallFailedError as error:
                if error.code != "UNAUTHENTICATED":
                    raise
        token = self.sign_in()
        with contextlib.suppress(OSError):  # without a place for it, the next command signs in again
            write_secret(kept, token)
        return attempt(token)

    def _with_given(self, token: str, attempt: Callable[[str | None], Result]) -> Result:
        try:
            return attempt(token)
        except (TokenRefusedError, CallFailedError) as error:
            if error.reason != "NOAUTH":
                raise
            if self._profile is None:
                hint = "set another one, or unset it and sign in: `instant-audience login`"
                raise click.ClickException(
                    f"the token in INSTANT_AUDIENCE_TOKEN is none, or has ended: {hint}"
                ) from error
            again = f"instant-audience login --profile {self._profile}"
            raise click.ClickException(f"the token of profile {self._profile} has ended: `{again}`") from error

    def sign_in(self) -> str:
        """Sign in; returns a new token."""
        credentials = self._required_credentials()
        answer = self._send("POST", "/auth", None, json={"auth": credentials._asdict()})
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            if self._credentials is None:
                raise click.ClickException(
                    f"nothing says who calls, and {self.url} has not the demo catalog's user "
                    f"{credentials.username!r}: {SIGN_IN_HINT}"
                )
            raise click.ClickException(
                f"the service does not accept the user name {credentials.username!r} with this password"
            )
        token: str = response_of(answer)["token"]
        return token

    def revoke_token(self) -> None:
        """Revoke the token that was given. If it has expired, nothing happens."""
        with contextlib.suppress(TokenRefusedError):
            response_of(self._send("DELETE", "/auth", self._token))

    def _required_credentials(self) -> Credentials:
        if self._credentials is not None:
            return self._credentials
        if is_loopback(self._where):
            return demo_credentials(self._demo_username)
        raise click.ClickException(f"no credentials: {SIGN_IN_HINT}")

    def _send(self, method: str, path: str, token: str | None, **kwargs: Any) -> httpx.Response:
        headers = {} if token is None else {"authorization": token}
        self._reach()
        try:
            return self._http.request(method, path, headers=headers, **kwargs)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _connected(self) -> ServiceClient:
        if self._grpc is None:
            self._reach()
            self._grpc = self._closing.enter_context(
                ServiceClient(endpoint_of(self._where), *self.tls.pem(), secure=self._is_secure)
            )
        return self._grpc

    def _reach(self) -> None:
        """Fail early if the host is unreachable or does not answer, instead of after the call's timeout. The gateway
        answers HEAD requests itself."""
        if not self._is_reached:
            try:
                reach(self._where)
                self._http.head("/", timeout=REACH_SECONDS)
            except (OSError, httpx.HTTPError) as error:
                is_away = isinstance(error, OSError | httpx.TimeoutException | httpx.ConnectError)
                if is_away or _refusal(error):  # which gRPC would not tell
                    raise self._unreachable(error) from error
                # Else somebody is there: the call tells what is wrong.
            self._is_reached = True

    def _explained(self, error: CallFailedError) -> click.ClickException:
        if not error.reason:
            if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                return self._unreachable(error)
            return click.ClickException(f"{self.url} is not this service, or an older one: {error.code}: {error}")
        is_for_others = error.code == "PERMISSION_DENIED" and error.field != "current_password"
        hints = [DENIED_HINT] if is_for_others else []
        if error.retry_seconds is not None:
            hints = [f"try again in {error.retry_seconds} s"]
        return click.ClickException(and_so(f"{error.reason}: {error}", *hints))

    def _unreachable(self, error: Exception) -> AwayError:
        return AwayError(f"{self.url} does not answer ({error}): {_refusal(error) or self._way_there(error)}")

    def _way_there(self, error: Exception) -> str:
        """What may help to reach the service."""
        if _of_tls(error) is not None:
            mend = "name the port of REST with --url, and http:// where it has no TLS"
        elif isinstance(error, httpx.RemoteProtocolError):
            mend = "name the port of REST with --url, and https:// where it has TLS"
        else:
            start = "start the service with `make run`" if is_loopback(self._where) else "see to it that it runs"
            mend = f"{start}, or name another with --url"
        if self._is_secure:
            mend += "; --cacert says whom to trust, --cert what to show"
        return mend


def _of_tls(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS because of which a call failed; None if there is none."""
    if error is None or isinstance(error, ssl.SSLError):
        return error
    return _of_tls(error.__cause__ or error.__context__)


def _refusal(error: BaseException) -> str:
    """What to do about the client certificate, if the service said in a TLS alert that it refuses it; else empty."""
    failure = _of_tls(error)
    alert = "" if failure is None else (failure.reason or "").partition("_ALERT_")[2]
    return REFUSALS.get(alert, "")


def user_id_in(token: str) -> int:
    """The user ID in a token (source: contract, "POST /auth"): hbapi:<user id>:<random hex>:<location>."""
    found = re.fullmatch(r"hbapi:([0-9]{1,9}):[^:]+:.*", token)
    if found is None:
        raise click.ClickException("the token is none of this service's")
    return int(found[1])


def _kept_token(url: str, credentials: Credentials) -> Path:
    """The path of the stored token for an account on a service; only its owner can read the file."""
    name = hashlib.sha256("\n".join((url, *credentials)).encode()).hexdigest()
    return own_directory("XDG_CACHE_HOME", ".cache") / f"token-{name}"
