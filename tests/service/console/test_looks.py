"""The console for everybody: both themes, a phone, the keyboard, screen readers."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect
from support.console import traffic
from support.console.browsers import DESKTOP, PHONE, SERIOUS, Console, console_page
from support.service.running import ON_ONE_HOST, PASSWORDS, Service

pytestmark = [pytest.mark.wide, ON_ONE_HOST]

VIEWS = ["Overview", "Samples", "Segments", "Users", "Files"]
SIZES = {"desktop": DESKTOP, "phone": PHONE}


async def every_view(console: Console, look: Callable[[str], Awaitable[None]]) -> None:
    """Look at the page before and after signing in, with all that views can unfold."""
    page = console.page
    await console.open()
    await look("Sign in")
    await console.sign_in("admin", PASSWORDS["admin"])
    await console.totals()
    await expect(page.locator("#member option")).to_have_count(5)
    await page.get_by_label("Member", exact=True).select_option(str(traffic.MEMBER))
    await page.get_by_role("radio", name="14 days").check()
    await expect(page.locator("#totals dd").first).to_have_text("1,023")
    await page.locator("summary").first.click()
    await look("Overview")
    for view in [*VIEWS[1:], "Members"]:
        await console.go_to(view)
        await console.answered()
        if view == "Segments":
            await page.get_by_role("button", name="New segment").click()
            await look("New segment")
            await page.keyboard.press("Escape")
        if view == "Users":
            for form in ("#apply", "#look-up"):
                await page.locator(form).get_by_label("User ID").fill("12345678900987654321")
            for segment, outcome in (("30001", "warn"), ("10001", "good")):
                await page.get_by_label("Segment ID").fill(segment)
                await page.get_by_role("button", name="Apply").click()
                await page.locator(f"#apply-answer .outcome.{outcome}").wait_for()
                await page.locator("#apply-answer summary").click()
                await look(f"{view}, segment {segment}")
            await page.get_by_role("button", name="Look up").click()
            await page.locator("#look-up-answer table").wait_for()
        await look(view)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_axe_finds_nothing_serious(
    browser: Browser, service: Service, size: tuple[int, int], scheme: Any
) -> None:
    found: list[str] = []

    async with console_page(browser, service, size=size, color_scheme=scheme) as console:

        async def look(view: str) -> None:
            results = await Axe().run(console.page)
            assert results.response["passes"]
            found.extend(
                f"{view}: {violation['id']} {[node['target'] for node in violation['nodes']]}"
                for violation in results.response["violations"]
                if violation["impact"] in SERIOUS
            )

        await every_view(console, look)
    assert found == []


async def test_a_phone_need_not_scroll_sideways(browser: Browser, service: Service) -> None:
    widths: dict[str, int] = {}

    async with console_page(browser, service, size=PHONE, is_mobile=True, has_touch=True) as console:

        async def look(view: str) -> None:
            widths[view] = await console.page.evaluate("document.documentElement.scrollWidth")

        await every_view(console, look)
    assert set(widths.values()) == {PHONE[0]}, widths


async def test_a_phone_shows_what_a_row_is_of_beside_any_column(browser: Browser, service: Service) -> None:
    async with console_page(browser, service, token=await service.token("admin"), size=PHONE) as console:
        await console.open("members")
        await expect(console.page.locator("#members-place")).to_have_text("1–5 of 5")  # rows are made anew until then
        name = console.page.get_by_role("link", name="Private Member (777)")
        before = await name.bounding_box()
        await console.page.get_by_role("region", name="Table of members").evaluate("frame => frame.scrollLeft = 1000")
        await expect(console.page.get_by_role("columnheader", name="Calls failed")).to_be_in_viewport(ratio=1)
        assert await name.bounding_box() == before


async def test_a_phone_shows_the_whole_of_what_stands_for_rows(browser: Browser, service: Service) -> None:
    """It went on where one had to scroll to."""
    async with console_page(browser, service, token=await service.token("admin"), size=PHONE) as console:
        for view, text in {"segments?search=none": "holds “none”.", "members?start=25": "fewer members now"}.items():
            await console.open(view)
            await expect(console.page.get_by_text(text)).to_be_in_viewport(ratio=1)


async def test_marks_over_a_name_stay_in_its_row(browser: Browser, service: Service) -> None:
    """Those of one name were drawn over the names above and below it."""

    async def picture_above(name: str) -> bytes:
        answer = {"members": [{"id": 1, "name": "above"}, {"id": 2, "name": name}], "next_page_token": ""}
        async with console_page(browser, service, token=await service.token("admin")) as console:
            console.expected_statuses = {503}
            await console.page.route("**/console/members?*", lambda route: route.fulfill(json=answer))
            await console.page.route("**/console/usage?*", lambda route: route.fulfill(status=503))
            await console.open("members")
            await console.alert()  # what it says moves the table
            return await console.page.get_by_role("link", name="above (1)").screenshot()

    assert await picture_above("a" + "\N{COMBINING ACUTE ACCENT}" * 200) == await picture_above("a")


async def test_themes(partner: Console) -> None:
    page = partner.page
    await partner.open()
    await partner.totals()
    schemes: list[tuple[Any, str, list[str]]] = [
        ("light", "rgb(244, 246, 248)", ["#2f6fde", "#b3261e"]),
        ("dark", "rgb(16, 20, 26)", ["#7db0ff", "#ff8f85"]),
    ]
    for scheme, ground, colours in schemes:
        await page.emulate_media(color_scheme=scheme)
        await expect(page.locator("body")).to_have_css("background-color", ground)
        # The page hears of the change a moment later, and colours its charts anew.
        await page.wait_for_function(
            "colours => Chart.getChart(document.querySelector('canvas'))"
            ".data.datasets.map(set => set.backgroundColor).join() === colours",
            arg=",".join(colours),
        )


async def test_the_keyboard_is_enough(console: Console) -> None:
    page = console.page
    await console.open()
    await page.keyboard.type(traffic.ACCOUNT)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORDS[traffic.ACCOUNT])
    await page.keyboard.press("Enter")
    await expect(console.heading("Overview")).to_be_focused()
    await console.totals()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("radio", name="24 hours")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("radio", name="7 days")).to_be_checked()
    await expect(page.get_by_role("status").filter(has_text="Shown: the last 168 hours.")).to_have_count(1)
    await page.reload()
    await console.totals()
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    for _ in range(20):
        if await skip.evaluate("link => link === document.activeElement"):
            break
        await page.keyboard.press("Shift+Tab")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    for link in VIEWS[:3]:
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name=link, exact=True).first).to_be_focused()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.evaluate(outline) == "solid"
    await page.keyboard.press("Enter")
    await expect(console.heading("Segments")).to_be_focused()
    await expect(page.get_by_role("link", name="Segments")).to_have_attribute("aria-current", "page")


async def test_a_button_that_may_not_be_pressed_again_keeps_the_focus(partner: Console) -> None:
    """While it was pressed, or at the last page, whoever presses keys was led to the beginning of the page."""
    page = partner.page
    await partner.open("segments?size=100")
    await expect(page.locator("#segments-place")).to_have_text("1–100 of 200")
    on = page.get_by_role("button", name="Next")
    await on.press("Enter")
    await expect(page.locator("#segments-place")).to_have_text("101–200 of 200")
    await expect(on).to_be_disabled()
    await on.press("Enter")
    await expect(on).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#segments-place")).to_have_text("1–100 of 200")
    await expect(page.get_by_role("button", name="Back")).to_be_focused()
    await partner.go_to("Users")
    await page.locator("#look-up").get_by_label("User ID").fill("7652266028043224430")
    look_up = page.get_by_role("button", name="Look up")
    for key in ("Enter", "Enter"):  # the second one while the first is under way
        await look_up.press(key)
    await expect(page.locator("#look-up-answer")).to_contain_text("is in no segment")
    await expect(look_up).to_be_focused()


async def test_titles_and_landmarks(partner: Console) -> None:
    await partner.open()
    for view in VIEWS:
        await partner.go_to(view)
        await expect(partner.page).to_have_title(f"{view} · Instant Audience console")
        for role in ("banner", "navigation", "main"):
            await expect(partner.page.get_by_role(role)).to_have_count(1)
        await expect(partner.page.get_by_role("heading", level=1)).to_have_count(1)
    await partner.page.go_back()
    await expect(partner.heading(VIEWS[-2])).to_be_visible()
