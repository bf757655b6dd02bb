"""TLS on both ports: whose certificates are refused, who may do without a token, and certificates that are replaced."""

import asyncio
import datetime
import json
import shutil
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from instantaudience import (
    AsyncClient,
    ClientCertificate,
    Limits,
    Tls,
    UnauthenticatedError,
    UnavailableError,
    block,
    user,
)
from instantaudience.v1 import catalog_pb2, usage_pb2
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub
from instantaudience_server.transport.hosts.native import COUNT_SECONDS
from support.contract.answers import assert_http_error
from support.contract.messages import apply_request, one_user, stream_request
from support.contract.model import UNLIMITED_DEMO
from support.credentials.authorities import HOUR, Authority, Signed, replace
from support.service.metrics import scrape
from support.service.running import HOST_MODES, Service, credentials, new_directory, running_service
from support.service.usage import assert_counted
from support.waiting import eventually
from support.wire.http2 import PREFACE, SETTINGS, http2_frame

PORTS = ("gateway", "direct")
HOST = "127.0.0.1"
HANDSHAKE_SECONDS = 10.0
PRIVATE = next(user["id"] for user in UNLIMITED_DEMO["users"] if user["username"] == "private")
"""Another account."""
URI, DNS = "spiffe://example.org/loader", "loader.example.org"
NAMED = UNLIMITED_DEMO | {
    "users": [
        user | ({"certificate_names": [URI, DNS]} if user["username"] == "demo" else {})
        for user in UNLIMITED_DEMO["users"]
    ]
}
"""The demo's catalog; who shows one of these names is `demo`."""


@dataclass
class Secured:
    """A service that asks for certificates, and whose they are."""

    service: Service
    authority: Authority
    server: Signed
    good: Signed
    revoked: Signed
    revocations: Path
    silent: list[asyncio.StreamReader]
    """Connections to both ports that begin no handshake, from before the first test on."""

    def address(self, port: str) -> str:
        """Where it listens."""
        return {"gateway": self.service.http_address, "direct": self.service.grpc_address}[port]

    def context(self, client: Signed | None) -> ssl.SSLContext:
        """What a caller with this certificate knows of TLS."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        return context

    def channel(self, port: str, client: Signed | None) -> grpc.aio.Channel:
        """A gRPC caller with this certificate."""
        pair = (None, None) if client is None else (client.key.read_bytes(), client.cert.read_bytes())
        trusted = grpc.ssl_channel_credentials(self.authority.file.read_bytes(), *pair)
        return grpc.aio.secure_channel(self.address(port), trusted)

    async def http(self, client: Signed | None, port: str = "gateway", **options: Any) -> httpx.AsyncClient:
        """A REST caller with this certificate; `direct`, over HTTP/2."""
        context = await asyncio.to_thread(self.context, client)
        options |= {"verify": context, "http2": port == "direct"}
        return httpx.AsyncClient(base_url=f"https://{self.address(port)}", timeout=20, trust_env=False, **options)


async def token_of(http: httpx.AsyncClient, username: str = "demo") -> str:
    answer = await http.post("/auth", json=credentials(username))
    return str(answer.raise_for_status().json()["response"]["token"])


@asynccontextmanager
async def running_secured(host_mode: str, *more: str) -> AsyncIterator[Secured]:
    """Such a service on a host, with more words."""
    async with new_directory() as directory:
        authority = Authority(directory)
        server = authority.sign("server", dns=["localhost"], address=HOST)
        good, revoked = authority.sign("good"), authority.sign("revoked")
        revocations = directory / "revoked.crl"
        authority.revoke(revocations, revoked)
        words = ["--tls-cert", server.cert, "--tls-key", server.key, "--client-ca", authority.file]
        words += ["--client-crl", revocations, *more]
        catalog = directory / "named.yaml"
        catalog.write_text(json.dumps(NAMED))
        arguments = {"directory": directory, "host_mode": host_mode, "catalog": f"--catalog={catalog}"}
        async with running_service(*map(str, words), **arguments) as service:
            yield Secured(service, authority, server, good, revoked, revocations, [])


@pytest.fixture(scope="module", params=HOST_MODES)
async def secured(request: pytest.FixtureRequest) -> AsyncIterator[Secured]:
    async with running_secured(request.param, "--workers", "2", "--metrics-port", "0") as secured:
        with ExitStack() as stack:
            for port in PORTS:
                host, _, number = secured.address(port).rpartition(":")
                for _ in range(20):
                    reader, writer = await asyncio.open_connection(host, int(number))
                    stack.callback(writer.close)
                    secured.silent.append(reader)
            yield secured


@pytest.fixture(scope="module")
async def uncalled(secured: Secured) -> AsyncIterator[Secured]:
    """Another one on that host, whose refusals can be counted: gRPC channels of other tests do not try it again."""
    async with running_secured(secured.service.host_mode, "--workers", "2", "--metrics-port", "0") as uncalled:
        yield uncalled


async def spoken(secured: Secured, port: str, *options: str, until: str) -> str:
    """What openssl says of a connection, up to these words, or up to its end."""
    words = ["s_client", "-connect", secured.address(port), "-CAfile", str(secured.authority.file), "-alpn", "h2"]
    words += ["-verify_return_error", *options]
    process = await asyncio.create_subprocess_exec(
        "openssl",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(30):
            while until.encode() not in output:
                if not (more := await process.stdout.read(65_536)):
                    break
                output += more
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
    return output.decode(errors="replace")


def shown(client: Signed) -> list[str]:
    """What has openssl show a certificate."""
    return ["-cert", str(client.cert), "-key", str(client.key)]


def refused_clients(secured: Secured, directory: Path) -> dict[str, Signed | None]:
    """Whose connections are refused: what is wrong with the certificates that they show."""
    return {
        "missing": None,
        "of another CA": Authority(directory, "stranger").sign("wrong"),
        "expired": secured.authority.sign("expired", lifetime=-HOUR),
        "revoked": secured.revoked,
    }


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_by_openssl(secured: Secured, tmp_path: Path) -> None:
    """Who shows nothing, or nothing that counts, is refused on both ports; so is an old version of TLS."""
    bad = {what: [] if client is None else shown(client) for what, client in refused_clients(secured, tmp_path).items()}
    bad["TLS 1.1"] = [*shown(secured.good), "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]
    for port in PORTS:
        good = await spoken(secured, port, *shown(secured.good), until="Verify return code: 0 (ok)")
        assert "Verify return code: 0 (ok)" in good
        assert "ALPN protocol: h2" in good
        assert "alert" not in good
        refused = await asyncio.gather(*(spoken(secured, port, *options, until="alert") for options in bad.values()))
        for what, output in zip(bad, refused, strict=True):
            assert "alert" in output, (port, what)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_by_curl(secured: Secured, tmp_path: Path) -> None:
    async def status(*options: str) -> tuple[int | None, str]:
        words = ["--silent", "--show-error", "--cacert", str(secured.authority.file), *options]
        process = await asyncio.create_subprocess_exec(
            "curl",
            *words,
            f"{secured.service.url}/healthz",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    def with_certificate(client: Signed | None) -> list[str]:
        return [] if client is None else ["--cert", str(client.cert), "--key", str(client.key)]

    assert await status(*with_certificate(secured.good)) == (0, '{"response":{"status":"OK"}}')
    for what, client in refused_clients(secured, tmp_path).items():
        code, output = await status(*with_certificate(client))
        assert code, what
        assert output == "", what


async def code_of(secured: Secured, port: str, client: Signed | None) -> grpc.StatusCode:
    """How a call without a token ends."""
    async with secured.channel(port, client) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await AudienceServiceStub(channel).ApplySegments(apply_request(one_user("1")), timeout=20)
    return failed.value.code()


async def test_a_url_for_a_file_has_tls_too(secured: Secured) -> None:
    async with await secured.http(secured.good) as http:
        answer = await http.post("/batch-segment", headers={"authorization": await token_of(http)})
    url = answer.raise_for_status().json()["response"]["batch_segment_upload_job"]["upload_url"]
    assert url.startswith(f"{secured.service.url}/batch-segment-upload/")


async def test_by_grpc(secured: Secured, tmp_path: Path) -> None:
    """Who is refused does not come as far as the call; with grpc-go, `make test-clients` tries the same."""
    for port in PORTS:
        assert await code_of(secured, port, secured.good) is grpc.StatusCode.UNAUTHENTICATED
        for what, client in refused_clients(secured, tmp_path).items():
            assert await code_of(secured, port, client) is grpc.StatusCode.UNAVAILABLE, (port, what)


async def test_who_speaks_no_tls_is_not_served(secured: Secured) -> None:
    for port in PORTS:
        async with grpc.aio.insecure_channel(secured.address(port)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await AudienceServiceStub(channel).ApplySegments(apply_request(one_user("1")), timeout=2)
            assert failed.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_certificates_are_replaced_under_load_and_no_call_fails(secured: Secured) -> None:
    """New connections all the while, and old ones; in the end, they are shown the new certificate."""
    async with await secured.http(secured.good) as http:
        load = Load(secured, http, await token_of(http))
        async with asyncio.TaskGroup() as tasks:
            for calls in (*map(load.call, PORTS), load.rest(), load.connect()):
                tasks.create_task(calls)
            for _ in range(2):
                renewed = secured.authority.sign("server", dns=["localhost"], address=HOST)
                await eventually(partial(every_worker_shows, secured, renewed), seconds=30)
            before = load.calls.copy()
            await eventually(lambda: load.goes_on(before), seconds=30)
            load.stop.set()


class Load:
    """Calls of many kinds, one after the other each, until it is stopped; every one has to be answered."""

    def __init__(self, secured: Secured, http: httpx.AsyncClient, token: str) -> None:
        self._secured = secured
        self._http = http
        self._token = token
        self.stop = asyncio.Event()
        self.calls = Counter[str]()

    async def _apply(self, channel: grpc.aio.Channel, kind: str) -> None:
        metadata = (("authorization", self._token),)
        await AudienceServiceStub(channel).ApplySegments(apply_request(one_user("1")), metadata=metadata, timeout=20)
        self.calls[kind] += 1

    async def call(self, port: str) -> None:
        """On one connection."""
        async with self._secured.channel(port, self._secured.good) as channel:
            while not self.stop.is_set():
                await self._apply(channel, port)

    async def connect(self) -> None:
        """On a new connection each."""
        while not self.stop.is_set():
            for port in PORTS:
                async with self._secured.channel(port, self._secured.good) as channel:
                    await self._apply(channel, f"new, {port}")

    async def rest(self) -> None:
        """Over REST."""
        while not self.stop.is_set():
            headers = {"authorization": self._token}
            answer = await self._http.post("/rt-segment", json=one_user("1"), headers=headers)
            assert answer.status_code == 200, answer.text
            self.calls["REST"] += 1

    async def goes_on(self, before: Counter[str]) -> None:
        """There are more calls of each kind."""
        assert len(before) == 2 * len(PORTS) + 1
        assert all(self.calls[kind] > count for kind, count in before.items()), self.calls


async def every_worker_shows(secured: Secured, server: Signed) -> None:
    """Very likely: which of two takes a connection is the kernel's affair."""

    def shown_on(port: str) -> str:
        host, _, number = secured.address(port).rpartition(":")
        context = secured.context(secured.good)
        with (
            socket.create_connection((host, int(number)), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=host) as connection,
        ):
            return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")

    for port in PORTS * 4:
        assert (await asyncio.to_thread(shown_on, port)).encode() == server.pem


async def test_a_certificate_that_is_revoked_is_refused_from_then_on(secured: Secured) -> None:
    late = secured.authority.sign("late")

    async def refused() -> None:
        for port in PORTS * 2:
            assert await code_of(secured, port, late) is grpc.StatusCode.UNAVAILABLE

    for port in PORTS:
        assert await code_of(secured, port, late) is grpc.StatusCode.UNAUTHENTICATED
    secured.authority.revoke(secured.revocations, secured.revoked, late)
    await eventually(refused, seconds=30)


async def test_a_list_by_who_signed_a_caller_is_enough(secured: Secured, tmp_path: Path) -> None:
    """There may be none by the authority that vouches for that one."""
    issuing = Authority(tmp_path, "issuing", issuer=secured.authority)
    good, revoked = issuing.sign("good"), issuing.sign("revoked")
    for client in (good, revoked):
        replace(client.cert, client.pem + issuing.file.read_bytes())

    async def end_with(good_one: grpc.StatusCode, usual: grpc.StatusCode) -> None:
        for port in PORTS * 4:  # both workers have been asked, nearly always
            assert await code_of(secured, port, good) is good_one
            assert await code_of(secured, port, secured.good) is usual

    issuing.revoke(secured.revocations, revoked)
    await eventually(partial(end_with, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE), seconds=30)
    for port in PORTS * 4:
        assert await code_of(secured, port, revoked) is grpc.StatusCode.UNAVAILABLE
    secured.authority.revoke(secured.revocations, secured.revoked)
    await eventually(partial(end_with, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED), seconds=30)


async def test_past_the_end_of_the_list_of_revoked_ones_nobody_gets_in(secured: Secured) -> None:
    async def end_with(code: grpc.StatusCode) -> None:
        for port in PORTS * 8:  # both workers have been asked, nearly always
            assert await code_of(secured, port, secured.good) is code

    secured.authority.revoke(secured.revocations, secured.revoked, lifetime=datetime.timedelta(seconds=5))
    await eventually(partial(end_with, grpc.StatusCode.UNAVAILABLE), seconds=30)
    secured.authority.revoke(secured.revocations, secured.revoked)
    await eventually(partial(end_with, grpc.StatusCode.UNAUTHENTICATED), seconds=30)


@pytest.mark.wide
async def test_past_the_end_of_the_only_authority_nobody_gets_in(host_mode: str, tmp_path: Path) -> None:
    """It vouches for nobody any more, though its callers' certificates last."""
    usual, ending = Authority(tmp_path, "usual"), tmp_path / "ending"
    ending.mkdir()
    async with running_secured(host_mode, "--workers", "1", "--client-ca", str(usual.file)) as secured:

        async def end_with(code: grpc.StatusCode, client: Signed) -> None:
            for port in PORTS:
                assert await code_of(secured, port, client) is code

        async def let_in(authority: Authority, client: Signed) -> None:
            authority.revoke(secured.revocations)
            await eventually(partial(end_with, grpc.StatusCode.UNAUTHENTICATED, client), seconds=30)

        good = usual.sign("good")
        await let_in(usual, good)
        authority = Authority(ending, lifetime=datetime.timedelta(seconds=20))
        replace(usual.file, authority.file.read_bytes())
        last = authority.sign("last")
        await let_in(authority, last)
        await eventually(partial(end_with, grpc.StatusCode.UNAVAILABLE, last), seconds=60)


@pytest.mark.wide
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_comes_again_needs_a_certificate_that_has_not_ended(
    secured: Secured, version: ssl.TLSVersion
) -> None:
    """A session is not resumed with one that has."""
    lifetime = 8.0
    client = secured.authority.sign("ending", lifetime=datetime.timedelta(seconds=lifetime))
    ends = time.monotonic() + lifetime

    def connect(port: str, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        """Raises OSError where nothing is answered."""
        host, _, number = secured.address(port).rpartition(":")
        with (
            socket.create_connection((host, int(number)), timeout=10) as plain,
            contexts[port].wrap_socket(plain, server_hostname=host, session=session) as connection,
        ):
            connection.sendall(PREFACE + http2_frame(SETTINGS, 0, 0, b""))
            if not connection.recv(1):
                raise ConnectionAbortedError
            return connection.session

    contexts = {port: await asyncio.to_thread(secured.context, client) for port in PORTS}
    for context in contexts.values():
        context.maximum_version = version
        context.set_alpn_protocols(["h2"])
    sessions = {port: await asyncio.to_thread(connect, port, None) for port in PORTS}
    await asyncio.sleep(ends - time.monotonic() + 2)
    for port, session in sessions.items():
        with pytest.raises(OSError, match=r"EXPIRED|EOF|reset|pipe|^$"):
            await asyncio.to_thread(connect, port, session)


async def test_a_handshake_that_does_not_end_ends_the_connection(secured: Secured) -> None:
    """Others are served meanwhile, as by the tests before this one."""
    async with asyncio.timeout(HANDSHAKE_SECONDS + 20):
        for reader in secured.silent:
            assert await reader.read() == b""
    async with await secured.http(secured.good) as http:
        assert (await http.get("/healthz")).status_code == 200


async def test_what_cannot_be_used_changes_nothing_and_is_told(secured: Secured) -> None:
    kept = secured.server.key.read_bytes()
    known = len(secured.service.events)
    secured.server.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")

    async def told() -> None:
        assert any(event["event"] == "certificates_unusable" for event in secured.service.events[known:])

    await eventually(told, seconds=20)
    async with await secured.http(secured.good) as http:
        assert (await http.get("/healthz")).status_code == 200
    secured.server.key.write_bytes(kept)

    async def read_again() -> None:
        assert secured.service.events[-1]["event"] == "certificates_read"

    await eventually(read_again, seconds=20)


async def test_who_is_refused_at_the_gateway_is_counted(uncalled: Secured, tmp_path: Path) -> None:
    clients = refused_clients(uncalled, tmp_path).values()
    before = await refused_so_far(uncalled)
    for client in clients:
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            async with await uncalled.http(client) as http:
                await http.get("/healthz")

    async def counted() -> None:
        assert await refused_certificates(uncalled) == before + len(clients)

    await eventually(counted)


async def test_who_is_refused_at_the_native_hosts_port_is_counted(uncalled: Secured, tmp_path: Path) -> None:
    if uncalled.service.host_mode != "native":
        pytest.skip("other hosts do not count them, or count them as the gateway's")
    clients = refused_clients(uncalled, tmp_path).values()
    before = await refused_so_far(uncalled, "native_refusals_total")
    host, _, port = uncalled.address("direct").rpartition(":")
    for client in clients:
        with suppress(OSError):  # with TLS 1.3, whoever is refused reads of it
            reader, writer = await asyncio.open_connection(host, int(port), ssl=uncalled.context(client))
            await reader.read()
            writer.close()

    async def counted() -> None:
        assert await refused_certificates(uncalled, "native_refusals_total") == before + len(clients)

    await eventually(counted)


async def refused_so_far(secured: Secured, metric: str = "gateway_refusals_total") -> float:
    """How many certificates were refused, once hosts have counted those of earlier tests."""
    told = await refused_certificates(secured, metric)
    while True:
        await asyncio.sleep(2 * COUNT_SECONDS)
        told, before = await refused_certificates(secured, metric), told
        if told == before:
            return told


async def refused_certificates(secured: Secured, metric: str = "gateway_refusals_total") -> float:
    async with await secured.http(secured.good) as http:
        return (await scrape(secured.service, http)).total(metric, reason="certificates")


async def test_their_ends_are_a_metric(secured: Secured) -> None:
    async def known() -> None:
        async with await secured.http(secured.good) as http:
            metrics = await scrape(secured.service, http)
        for file in ("server", "client_ca", "client_crl"):
            end = metrics.total("certificate_end_timestamp_seconds", file=file)
            assert 2 * time.time() < end < 2 * (time.time() + 25 * 3600)

    await eventually(known)


async def outcomes(secured: Secured, client: Signed, *metadata: tuple[str, str]) -> dict[str, object]:
    """How calls without a token end: HTTP statuses and gRPC codes."""
    ended: dict[str, object] = {}
    async with await secured.http(client, "direct", headers=list(metadata)) as http:
        answer = await http.post("/rt-segment", json=one_user("1"))
        ended["POST, direct"] = answer.status_code
        assert answer.http_version == "HTTP/2"
    async with await secured.http(client, headers=list(metadata)) as http:
        ended["POST"] = (await http.post("/rt-segment", json=one_user("1"))).status_code
        ended["GET"] = (await http.get("/rt-segment", params={"user_id": "1"})).status_code
    for port in PORTS:
        async with secured.channel(port, client) as channel:
            audience = AudienceServiceStub(channel)
            try:
                await audience.ApplySegments(apply_request(one_user("1")), metadata=metadata, timeout=20)
                stream = audience.StreamSegments(metadata=metadata, timeout=20)
                await stream.write(stream_request(one_user("1")))
                await stream.read()
                stream.cancel()
                ended[port] = grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                ended[port] = error.code()
    return ended


ADMITTED = {"POST": 200, "POST, direct": 200, "GET": 200, **dict.fromkeys(PORTS, grpc.StatusCode.OK)}
REFUSED = {"POST": 401, "POST, direct": 401, "GET": 401, **dict.fromkeys(PORTS, grpc.StatusCode.UNAUTHENTICATED)}


async def test_who_has_a_certificate_with_an_accounts_name_needs_no_token(secured: Secured) -> None:
    sign = secured.authority.sign
    known = {"a URI": {"uris": [URI]}, "a DNS name": {"dns": [DNS]}, "both": {"uris": [URI], "dns": ["other.example"]}}
    unknown: dict[str, dict[str, list[str]]] = {
        "no name": {},
        "another URI": {"uris": ["spiffe://example.org/other"]},
        "another URI, and a DNS name": {"uris": ["spiffe://example.org/other"], "dns": [DNS]},
        "two URIs": {"uris": [URI, "spiffe://example.org/other"]},
        "a URI that looks like two": {"uris": [f"spiffe://example.org/other,{URI}"]},
    }
    for names in known.values():
        assert await outcomes(secured, sign("named", **names)) == ADMITTED, names
    for names in unknown.values():
        assert await outcomes(secured, sign("named", **names)) == REFUSED, names
    # What a caller shows by itself counts first, and nobody can say that he has shown a certificate.
    assert await outcomes(secured, sign("named", uris=[URI]), ("authorization", "hbapi:0:0:none")) == REFUSED
    assert await outcomes(secured, secured.good, ("x-client-certificate", f"uri={URI} dns=")) == REFUSED


async def test_what_the_gateway_refuses_of_a_certificate_is_its_members(secured: Secured) -> None:
    """As with a token: it counts, and whose certificate is nobody's is told that first."""
    named = secured.authority.sign("named", uris=[URI])
    stranger = secured.authority.sign("stranger", uris=["spiffe://example.org/other"])
    before = await failed_calls(secured, named)
    async with await secured.http(named) as http:
        began = time.monotonic()
        assert_http_error(await http.post("/mapuid", content="{"), 400, "SYNTAX")
        assert_http_error(
            await http.post("/rt-segment", content='{"rt_segment":[{"seg_block":[{"seg_id":1.5}]}]}'), 400, "SYNTAX"
        )
        assert_http_error(await http.get("/nope"), 404, "SYNTAX")
    async with await secured.http(stranger) as http:
        answer = await http.post("/mapuid", content="{")
    assert_http_error(answer, 401, "NOAUTH")
    await assert_counted(lambda: failed_calls(secured, named), before + 3, began)


async def test_what_the_gateway_refuses_of_a_token_is_its_members(secured: Secured) -> None:
    """Where callers must show a certificate, as elsewhere."""
    named = secured.authority.sign("named", uris=[URI])
    before = await failed_calls(secured, named)
    async with await secured.http(secured.good) as http:
        http.headers["authorization"] = await token_of(http)
        began = time.monotonic()
        assert_http_error(await http.post("/mapuid", content="{"), 400, "SYNTAX")
        http.headers["authorization"] = "hbapi:0:0:none"
        assert_http_error(await http.post("/mapuid", content="{"), 401, "NOAUTH")
    await assert_counted(lambda: failed_calls(secured, named), before + 1, began)


async def failed_calls(secured: Secured, client: Signed) -> int:
    """Those of the member whose certificate this is."""
    async with secured.channel("direct", client) as channel:
        request = usage_pb2.GetUsageRequest(hours=48)
        return (await UsageServiceStub(channel).GetUsage(request, timeout=20)).total.other_errors


async def test_the_python_client_calls_by_its_certificate_alone(secured: Secured) -> None:
    async def called(port: str, client: Signed) -> None:
        tls = Tls(secured.authority.file.read_bytes(), client.cert.read_bytes(), client.key.read_bytes())
        async with AsyncClient(secured.address(port), ClientCertificate(), tls=tls) as python:
            users = [user(1, block(10001))]
            assert (await python.apply(users)).message.users_in_request == 1
            assert [result.error async for result in python.stream(users)] == [None]

    named = secured.authority.sign("named", uris=[URI])
    for port in PORTS:
        await called(port, named)
        with pytest.raises(UnauthenticatedError):
            await called(port, secured.good)


async def test_the_python_client_says_that_its_certificate_has_ended(secured: Secured) -> None:
    """gRPC tells of a TLS alert only that data were corrupted; where it notices the connection's end first, of that."""
    ended = secured.authority.sign("ended", lifetime=-HOUR)
    tls = Tls(secured.authority.file.read_bytes(), ended.pem, ended.key.read_bytes())
    moment = f"{ended.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"

    async def is_told(port: str) -> None:
        async with AsyncClient(secured.address(port), ClientCertificate(), tls=tls, limits=Limits()) as python:
            users = [user(1, block(10001))]
            with pytest.raises(UnavailableError) as calling:
                await python.apply(users, deadline_seconds=1)
            with pytest.raises(UnavailableError) as streaming:
                _ = [result async for result in python.stream(users, patience_seconds=1)]
        told = {raised.value.message for raised in (calling, streaming)}
        assert told == {f"the service refuses the client certificate, which ended at {moment}"}

    for port in PORTS:
        await eventually(partial(is_told, port))


async def test_an_account_that_is_deactivated_is_refused_by_its_certificate(secured: Secured) -> None:
    named = secured.authority.sign("named", uris=["spiffe://example.org/new"])
    async with await secured.http(secured.good) as http, secured.channel("gateway", secured.good) as channel:
        metadata = (("authorization", await token_of(http, "admin")),)
        catalog = CatalogServiceStub(channel)

        async def change(mask: str, **fields: Any) -> None:
            user = catalog_pb2.User(id=PRIVATE, **fields)
            request = catalog_pb2.UpdateUserRequest(user=user, update_mask={"paths": [mask]})
            await catalog.UpdateUser(request, metadata=metadata, timeout=20)

        async def all_are(expected: dict[str, object]) -> None:
            assert await outcomes(secured, named) == expected

        with pytest.raises(grpc.aio.AioRpcError) as taken:
            await change("certificate_names", certificate_names=[DNS])
        assert taken.value.code() is grpc.StatusCode.ALREADY_EXISTS
        await change("certificate_names", certificate_names=["spiffe://example.org/new"])
        await eventually(lambda: all_are(ADMITTED))
        await change("deactivated", deactivated=True)
        await eventually(lambda: all_are(REFUSED))


@pytest.mark.parametrize("host_mode", HOST_MODES)
async def test_a_certificate_that_is_optional_has_to_be_good_all_the_same(host_mode: str, tmp_path: Path) -> None:
    async with running_secured(host_mode, "--client-certificates", "optional", "--workers", "1") as secured:
        for port in PORTS:
            for what, client in refused_clients(secured, tmp_path).items():
                code = grpc.StatusCode.UNAUTHENTICATED if client is None else grpc.StatusCode.UNAVAILABLE
                assert await code_of(secured, port, client) is code, (port, what)
        assert await outcomes(secured, secured.authority.sign("named", uris=[URI])) == ADMITTED


@pytest.mark.wide
@pytest.mark.parametrize("host_mode", HOST_MODES)
async def test_without_tls_no_header_stands_for_a_certificate(host_mode: str, tmp_path: Path) -> None:
    """Although an account has the names."""
    catalog, claim = tmp_path / "named.yaml", {"x-client-certificate": f"uri={URI} dns={DNS}"}
    catalog.write_text(json.dumps(NAMED))
    async with running_service("--workers", "1", host_mode=host_mode, catalog=f"--catalog={catalog}") as service:
        async with service.http(headers=claim) as http:
            assert (await http.post("/rt-segment", json=one_user("1"))).status_code == 401
        for port in PORTS:
            async with service.channel(port) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await AudienceServiceStub(channel).ApplySegments(
                        apply_request(one_user("1")), metadata=tuple(claim.items()), timeout=20
                    )
                assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
