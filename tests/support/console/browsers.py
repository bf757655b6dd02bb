"""Headless Chromium, and pages of the console in it."""

import asyncio
import csv
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright, expect

from support.service.running import Service

NAMES = ["chromium", "chromium-browser", "google-chrome"]
"""Names of the browser's executable."""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 30_000
"""Timeout for a page to show something, even on a busy machine."""
expect.set_options(timeout=TIMEOUT_MS)
DESKTOP, PHONE = (1280, 900), (375, 812)
"""Widths and heights of windows."""
SERIOUS = {"serious", "critical"}
"""Impact levels of axe that fail a test."""
TOKEN_KEY = "instant-audience.token"


def program() -> str | None:
    """The path of the browser; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run a browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Console:
    """The console in a tab of its own, and what happened in it."""

    service: Service
    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings in the browser's console, including violations of the CSP."""
    requests: list[Request] = field(default_factory=list)
    expected_statuses: set[int] = field(default_factory=set)
    """HTTP statuses that the test provokes; the browser reports each of them."""

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def _note(self, message: ConsoleMessage) -> None:
        expected = [f"status of {status} " in message.text for status in self.expected_statuses]
        if message.type in {"error", "warning"} and not any(expected):
            self.complaints.append(message.text)

    async def open(self, view: str = "") -> None:
        """Load the page."""
        await self.page.goto(f"{self.service.url}/console{f'#{view}' if view else ''}")

    async def answered(self) -> None:
        """Wait for all answers, also to what the page asks for meanwhile. (The load state `networkidle` is no use here:
        a page that has reached it once does not leave it.)"""
        for request in self.requests:  # which grow
            try:
                async with asyncio.timeout(TIMEOUT_MS / 1000):
                    if answer := await request.response():
                        await answer.finished()
            except TimeoutError:
                raise AssertionError(f"neither answered nor failed: {request.method} {request.url}") from None

    async def sign_in(self, username: str, password: str) -> None:
        """Fill in and submit the form."""
        await self.page.get_by_label("User name").fill(username)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    async def go_to(self, view: str) -> None:
        """Follow a link of the navigation bar."""
        await self.page.get_by_role("navigation").get_by_role("link", name=view).click()
        await self.heading(view).wait_for()

    def heading(self, text: str) -> Any:
        """The heading of a view."""
        return self.page.get_by_role("heading", name=text, exact=True, level=1)

    async def alert(self) -> str:
        """The error message that is shown; waits for one."""
        shown = self.page.locator("[role=alert]:visible")
        await shown.wait_for()
        return str(await shown.inner_text())

    async def totals(self) -> dict[str, str]:
        """The totals of the overview, by name; waits for them."""
        await self.page.locator("#totals dd").first.wait_for()
        names = await self.page.locator("#totals dt").all_inner_texts()
        return dict(zip(names, await self.page.locator("#totals dd").all_inner_texts(), strict=True))

    async def download(self) -> tuple[str, list[dict[str, str]]]:
        """Press "Download as CSV"; returns the file's name and its rows."""
        async with self.page.expect_download() as started:
            await self.page.get_by_role("button", name="Download as CSV").click()
        file = await started.value
        with (await file.path()).open(newline="") as content:
            return file.suggested_filename, list(csv.DictReader(content))

    async def stored_token(self) -> str | None:
        """The token that the tab has stored."""
        token: str | None = await self.page.evaluate(f"sessionStorage.getItem('{TOKEN_KEY}')")
        return token


@asynccontextmanager
async def console_page(
    browser: Browser, service: Service, *, token: str = "", size: Sequence[int] = DESKTOP, **options: Any
) -> AsyncIterator[Console]:
    """Open a tab, signed in if there is a token; at the end, the browser must not have reported anything unexpected."""
    viewport = {"width": size[0], "height": size[1]}
    context: BrowserContext = await browser.new_context(viewport=viewport, **options)
    if token:
        await context.add_init_script(f"sessionStorage.setItem('{TOKEN_KEY}', '{token}')")
    console = Console(service, await context.new_page())
    yield console
    await context.close()
    assert console.complaints == [], console.complaints
