"""Sessions of the console on each host, as each answers for itself where a token ends or the cluster is away."""

import contextlib
import hashlib

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Error as PageError
from support.console import traffic
from support.console.browsers import TOKEN_KEY, Console, console_page
from support.service.processes import standing_still
from support.service.running import PASSWORDS, Service
from support.waiting import eventually

pytestmark = pytest.mark.wide

ACCOUNT, PASSWORD = traffic.ACCOUNT, PASSWORDS[traffic.ACCOUNT]


async def test_a_session_that_ends(console: Console, service: Service) -> None:
    console.expected_statuses = {401}
    await console.open("segments")
    await console.sign_in(ACCOUNT, PASSWORD)
    await expect(console.heading("Segments")).to_be_visible()
    token = await console.stored_token() or ""
    async with service.cluster() as cluster:
        assert await cluster.delete(f"t:{hashlib.sha256(token.encode()).hexdigest()}") == 1

    async def refused() -> None:  # workers trust what they know of a session for a second
        with contextlib.suppress(PageError):  # the answer to the last click may just have come
            await console.page.get_by_role("button", name="Search").click(timeout=1000)
        await expect(console.heading("Sign in")).to_be_visible(timeout=500)

    await eventually(refused)
    assert await console.alert() == "Your session has ended. Sign in again."
    await expect(console.page.get_by_label("User name")).to_be_focused()
    assert await console.stored_token() is None
    await console.sign_in(ACCOUNT, PASSWORD)
    await expect(console.heading("Segments")).to_be_visible()


async def test_where_the_token_goes(console: Console, service: Service) -> None:
    await console.open()
    await console.sign_in(ACCOUNT, PASSWORD)
    for view in ("Samples", "Segments", "Users", "Overview"):
        await console.go_to(view)
        await console.answered()
    token = await console.stored_token() or ""
    carrying = [await request.header_value("authorization") == token for request in console.requests]
    paths = {request.url.removeprefix(service.url).partition("?")[0] for request in console.requests}
    assert paths >= {"/auth", "/console/usage", "/console/overview", "/rt-segment-processed", "/segment"}
    assert all(request.url.startswith(f"{service.url}/") for request in console.requests)
    assert not any(token in request.url or PASSWORD in request.url for request in console.requests)
    for request, has_token in zip(console.requests, carrying, strict=True):
        assert has_token == (request.resource_type == "fetch" and not request.url.endswith("/auth")), request.url
        assert not await request.header_value("referer") or request.resource_type != "fetch"
    kept = "[document.cookie, JSON.stringify(localStorage), location.href, document.documentElement.outerHTML]"
    assert not any(token in text for text in await console.page.evaluate(kept))


async def test_a_reload_while_the_cluster_is_away(browser: Browser, service: Service) -> None:
    """The session stands, and the page shows what it would have shown when the cluster is back."""
    token = await service.token("admin")
    async with console_page(browser, service) as console:
        console.expected_statuses = {503}
        await console.open()
        await console.page.evaluate(f"sessionStorage.setItem('{TOKEN_KEY}', '{token}')")
        await console.open("members")
        pids = [(await service.on_node(port, "INFO", "server"))["process_id"] for port in service.node_ports]
        with standing_still(*pids):
            await console.page.reload()
            assert (await console.alert()).startswith("The service is busy or cannot reach its data.")
            assert await console.stored_token() == token
            await expect(console.page.get_by_role("button", name="Sign out")).to_be_visible()
            await expect(console.heading("Sign in")).to_be_hidden()
        await expect(console.page.locator("#members-place")).to_have_text("1–5 of 5")
        await expect(console.page.locator("[role=alert]:visible")).to_have_count(0)
