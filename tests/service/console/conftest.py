"""A service whose members have sent known things, and a browser."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser
from support.console import browsers, traffic
from support.console.browsers import Console, console_page, running_browser
from support.service.running import Service, running_service


@pytest.fixture(scope="package")
async def service(host_mode: str) -> AsyncIterator[Service]:
    """The service with the demo catalog and its limits; at the end, it must have met no defect."""
    async with running_service("--demo", host_mode=host_mode, catalog="") as running:
        async with running.cluster() as cluster:
            await traffic.put_usage(cluster)
        async with running.http(headers={"authorization": await running.token(traffic.ACCOUNT)}) as http:
            await traffic.put_segments(http)
        yield running
        assert "call_defect" not in running.log


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    """A headless browser."""
    if browsers.program() is None:
        pytest.skip(f"no Chromium here: none of {', '.join(browsers.NAMES)} is on the path")
    async with running_browser() as running:
        yield running


@pytest.fixture
async def console(browser: Browser, service: Service) -> AsyncIterator[Console]:
    """A tab without a session."""
    async with console_page(browser, service) as opened:
        yield opened


@pytest.fixture
async def partner(browser: Browser, service: Service) -> AsyncIterator[Console]:
    """A tab of the account of `traffic.MEMBER`, signed in."""
    async with console_page(browser, service, token=await service.token(traffic.ACCOUNT)) as opened:
        yield opened


@pytest.fixture
async def demo_tab(browser: Browser, service: Service) -> AsyncIterator[Console]:
    """A tab of the account `demo`, signed in."""
    async with console_page(browser, service, token=await service.token("demo")) as opened:
        yield opened


@pytest.fixture
async def admin_tab(browser: Browser, service: Service) -> AsyncIterator[Console]:
    """A tab of the account `admin`, signed in."""
    async with console_page(browser, service, token=await service.token("admin")) as opened:
        yield opened
