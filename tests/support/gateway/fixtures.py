"""Fixtures for suites of the gateway's packages, with an Envoy for each module; their conftest.py imports these."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from support.gateway.running import Gateway, Upstream, running_gateway, serving


@pytest.fixture(scope="module")
def directory() -> Any:
    """A directory for sockets and Envoy's files."""
    path = Path(tempfile.mkdtemp(prefix="gateway-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
async def shared_upstream(directory: Path) -> AsyncIterator[Upstream]:
    """The upstream, with the calls of all tests."""
    upstream = Upstream()
    async with serving(upstream, directory / "worker.sock"):
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    """The upstream, without the calls of earlier tests."""
    shared_upstream.calls.clear()
    shared_upstream.refusals.clear()
    shared_upstream.release.clear()
    shared_upstream.answer = None
    return shared_upstream


@pytest.fixture(scope="module")
async def gateway(directory: Path, shared_upstream: Upstream) -> AsyncIterator[Gateway]:
    """Envoy in front of the upstream; it must not log warnings."""
    async with running_gateway(directory, "worker.sock") as running:
        yield running
        lines = running.log.read_text().splitlines()
        assert [line for line in lines if "usage limit" not in line] == [], "Envoy warned of something"


@pytest.fixture(scope="module")
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A REST client of the gateway."""
    async with gateway.client() as http:
        yield http


@pytest.fixture(scope="module")
async def anyone(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A REST client of the gateway, without a token."""
    async with gateway.client(headers={}) as http:
        yield http


@pytest.fixture(scope="module")
async def channel(gateway: Gateway) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC channel to the gateway."""
    async with grpc.aio.insecure_channel(gateway.address) as opened:
        yield opened
