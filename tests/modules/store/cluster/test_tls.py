"""`rediss://`: the servers at hand speak no TLS, so it ends in front of the node, which announces that port."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop
from instantaudience_server.embedded.node import HOST
from instantaudience_server.errors import AudienceError
from instantaudience_server.process.processes import free_ports
from instantaudience_server.store.cluster.topology import StoreUnusableError, Topology
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.membership_store import ClusterMembershipStore
from support.cluster.nodes import on_node
from support.cluster.running import connected, running_node
from support.cluster.tls import certificate, tls_terminated
from support.cluster.users import for_each, user_key, write
from support.credentials.authorities import Authority, Signed, replace
from support.waiting import eventually, seconds_from_now

KEYS = [user_key(user_id) for user_id in range(1, 2001)]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


@pytest.fixture
async def node(product: str, tmp_path: Path) -> AsyncIterator[tuple[int, str]]:
    """The node's own port, and the address that speaks TLS with what trusts its certificate."""
    cert, key = certificate(tmp_path)
    (tls_port,) = free_ports(HOST, 1)
    announced = (f"cluster-announce-port {tls_port}", f"cluster-announce-ip {HOST}")
    async with (
        running_node(product, tmp_path, "cluster-enabled yes", *announced) as port,
        tls_terminated(tls_port, port, cert, key),
    ):
        yield port, f"rediss://{HOST}:{tls_port}?ssl_ca_certs={cert}"


async def use(port: int, url: str) -> None:
    """Write and read more than a socket takes at once, with the connection lost in between."""
    async with connected(url) as cluster:
        store = ClusterMembershipStore(cluster)
        await asyncio.gather(
            *(write(store, for_each(KEYS, {NEVER: {segment: 1}}), seconds_from_now(20)) for segment in range(10))
        )
        await on_node(port, "CLIENT", "KILL", "TYPE", "normal")
        await write(store, for_each(KEYS, {NEVER: {10: 1}}), seconds_from_now(20))
        expected = dict.fromkeys(range(11), (1, NEVER))
        assert await store.read(KEYS, seconds_from_now(20)) == [expected] * len(KEYS)


async def test_works_on_the_event_loop_of_the_workers(node: tuple[int, str]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            uvloop.run(use(*node))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert failures == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(node: tuple[int, str]) -> None:
    with pytest.raises(StoreUnusableError, match="certificate verify failed"):
        async with connected(node[1].partition("?")[0]):
            pass


async def test_the_service_shows_a_certificate_of_its_own(product: str, tmp_path: Path) -> None:
    """A cluster that asks for one (`tls-auth-clients yes`) is reached with it, and not without."""
    authority = Authority(tmp_path)
    server, client = authority.sign("server", address=HOST), authority.sign("client")
    (tls_port,) = free_ports(HOST, 1)
    announced = (f"cluster-announce-port {tls_port}", f"cluster-announce-ip {HOST}")
    trusting = f"rediss://{HOST}:{tls_port}?ssl_ca_certs={authority.file}"
    async with (
        running_node(product, tmp_path, "cluster-enabled yes", *announced) as port,
        tls_terminated(tls_port, port, server.cert, server.key, client_ca=authority.file),
    ):
        await use(port, f"{trusting}&ssl_certfile={client.cert}&ssl_keyfile={client.key}")
        with pytest.raises(StoreUnusableError):
            async with connected(trusting):
                pass


async def test_certificates_that_are_replaced_are_used_from_then_on(product: str, tmp_path: Path) -> None:
    """All of them, by those of another authority: the service shows its new one, and believes the cluster's."""
    files = [tmp_path / name for name in ("own.ca", "own.cert", "own.key")]

    def issue(name: str) -> tuple[Authority, Signed]:
        """Put what an authority signs where the service looks; the authority, and what the cluster shows."""
        authority = Authority(tmp_path, name)
        client, server = authority.sign(f"{name}-client"), authority.sign(f"{name}-server", address=HOST)
        for file, made in zip(files, (authority.file, client.cert, client.key), strict=True):
            replace(file, made.read_bytes())
        return authority, server

    (tls_port,) = free_ports(HOST, 1)
    options = zip(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), files, strict=True)
    url = f"rediss://{HOST}:{tls_port}?" + "&".join(f"{name}={file}" for name, file in options)
    announced = (f"cluster-announce-port {tls_port}", f"cluster-announce-ip {HOST}")
    async with running_node(product, tmp_path, "cluster-enabled yes", *announced) as port, AsyncExitStack() as stack:
        topology = Topology(url, connect_timeout_seconds=1)

        async def nodes_are_told() -> None:
            try:
                await topology.refresh()
            except AudienceError as error:
                raise AssertionError from error

        for name in ("first", "second"):
            authority, server = issue(name)
            async with tls_terminated(tls_port, port, server.cert, server.key, client_ca=authority.file):
                if name == "first":
                    store = ClusterMembershipStore(await stack.enter_async_context(connected(url)))
                    stack.push_async_callback(topology.close)
                await eventually(nodes_are_told)
                await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now(20))
