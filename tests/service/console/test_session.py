"""Signing in and out of the console, and what becomes of the token. In every test of the console, the browser must not
have complained in the end (errors, violations of the policy)."""

import asyncio
import contextlib
import hashlib
import re

import pytest
from playwright.async_api import Browser, Route, expect
from playwright.async_api import Error as PageError
from support.console import traffic
from support.console.browsers import TOKEN_KEY, Console, console_page
from support.service.running import ON_ONE_HOST, PASSWORDS, Service

pytestmark = [pytest.mark.wide, ON_ONE_HOST]

ACCOUNT, PASSWORD = traffic.ACCOUNT, PASSWORDS[traffic.ACCOUNT]
OTHER_ACCOUNT = "external"
"""An account may sign in ten times in five minutes, and what fails counts for its member."""


async def test_signing_in_and_out(console: Console) -> None:
    await console.open()
    await expect(console.page.get_by_label("User name")).to_be_focused()
    await console.sign_in(ACCOUNT, PASSWORD)
    await expect(console.heading("Overview")).to_be_focused()
    await expect(console.page.locator("#account")).to_have_text("private · Private Member")
    await expect(console.page).to_have_title("Overview · Instant Audience console")
    await console.totals()
    assert (await console.stored_token() or "").startswith("hbapi:1003:")
    await console.page.get_by_role("button", name="Sign out").click()
    await expect(console.heading("Sign in")).to_be_visible()
    assert await console.stored_token() is None
    await expect(console.page.get_by_role("status").filter(has_text="You have signed out.")).to_have_count(1)
    assert "Private Member" not in re.sub(r"\s+", " ", await console.page.locator("main").inner_html())
    assert await console.page.locator("#totals dd, #charts canvas, #quotas meter").count() == 0
    assert await console.page.get_by_label("Password").input_value() == ""
    await console.page.reload()
    await expect(console.heading("Sign in")).to_be_visible()


async def test_signing_out_ends_the_token(console: Console, service: Service) -> None:
    await console.open()
    await console.sign_in(OTHER_ACCOUNT, PASSWORDS[OTHER_ACCOUNT])
    await console.totals()
    token = await console.stored_token() or ""
    await console.page.get_by_role("button", name="Sign out").click()
    await expect(console.page.get_by_role("status").filter(has_text="You have signed out.")).to_have_count(1)
    async with service.cluster() as cluster:
        assert not await cluster.exists(f"t:{hashlib.sha256(token.encode()).hexdigest()}")


async def test_signing_out_without_an_answer(console: Console) -> None:
    await console.open()
    await console.sign_in(OTHER_ACCOUNT, PASSWORDS[OTHER_ACCOUNT])
    await console.totals()
    await console.page.context.set_offline(True)
    await console.page.get_by_role("button", name="Sign out").click()
    await expect(console.page.get_by_role("status").filter(has_text="The service could not be told")).to_have_count(1)
    assert await console.stored_token() is None
    console.complaints.clear()  # of the network that is not there
    await console.page.context.set_offline(False)


async def test_a_wrong_password(console: Console) -> None:
    console.expected_statuses = {401}
    await console.open()
    await console.sign_in(OTHER_ACCOUNT, "Wrong-Passw0rd!")
    assert await console.alert() == "The user name or the password is wrong."
    await expect(console.page.get_by_label("Password")).to_be_focused()
    assert await console.stored_token() is None
    await console.sign_in(OTHER_ACCOUNT, PASSWORDS[OTHER_ACCOUNT])
    await expect(console.heading("Overview")).to_be_visible()


async def test_a_deactivated_account(console: Console) -> None:
    console.expected_statuses = {401}
    await console.open()
    await console.sign_in("retired", PASSWORDS["retired"])
    assert await console.alert() == "This account is deactivated. Ask your administrator to activate it."


async def test_a_reload_keeps_session_and_view(console: Console) -> None:
    await console.open()
    await console.sign_in(ACCOUNT, PASSWORD)
    await console.go_to("Segments")
    await console.page.reload()
    await expect(console.heading("Segments")).to_be_visible()
    await expect(console.page.locator("#segment-rows tr")).to_have_count(25)


async def end_session(console: Console, service: Service) -> None:
    """End the tab's session behind its back; every worker knows it then."""
    token = await console.stored_token() or ""
    async with service.http(headers={"authorization": token}) as http:
        (await http.delete("/auth")).raise_for_status()
    await service.refused(token)


async def test_what_is_typed_outlasts_a_session_that_ends(console: Console, service: Service) -> None:
    """It was lost, and had to be typed again."""
    page, form = console.page, console.page.get_by_role("dialog")

    async def press_apply() -> None:
        with contextlib.suppress(PageError):  # what asks for suggestions may have met the end first
            await page.get_by_role("button", name="Apply").click(timeout=1000)
        await expect(console.heading("Sign in")).to_be_visible()

    console.expected_statuses = {401}
    await console.open("segments?search=10001")
    await console.sign_in("demo", PASSWORDS["demo"])
    await page.get_by_role("button", name="Edit segment 10001").click()
    await form.get_by_label("Description").fill("a long description")
    await end_session(console, service)
    await form.get_by_role("button", name="Save").click()
    assert await console.alert() == "Your session has ended. Sign in again."
    await console.sign_in("demo", PASSWORDS["demo"])
    await expect(form.get_by_role("heading")).to_have_text("Segment 10001")
    await expect(form.get_by_label("Description")).to_have_value("a long description")
    await form.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status").filter(has_text="Segment 10001 is saved.")).to_have_count(1)
    (change,) = [request.post_data_json for request in console.requests if request.method == "PUT"][1:]
    assert change == {"segment": {"description": "a long description"}}

    await console.go_to("Users")
    fields = page.locator("#apply")
    await fields.get_by_label("User ID").fill("7652266028043224430")
    await fields.get_by_label("Membership ends").select_option("minutes")
    await fields.get_by_label("Minutes").fill("77")
    await fields.get_by_label("Remove the user").check()
    await fields.get_by_label("Segment ID").fill("10001")
    await end_session(console, service)
    await press_apply()
    assert await console.alert() == "Your session has ended. Sign in again."
    await console.sign_in("demo", PASSWORDS["demo"])
    await expect(fields.get_by_label("User ID")).to_have_value("7652266028043224430")
    await expect(fields.get_by_label("Segment ID")).to_have_value("10001")
    await expect(fields.get_by_label("Remove the user")).to_be_checked()
    await expect(fields.get_by_label("Membership ends")).to_be_hidden()

    await end_session(console, service)
    await press_apply()
    await console.sign_in(OTHER_ACCOUNT, PASSWORDS[OTHER_ACCOUNT])
    await expect(console.heading("Users")).to_be_focused()
    await expect(fields.get_by_label("User ID")).to_have_value("")


async def test_a_kept_token_that_is_none(browser: Browser, service: Service) -> None:
    async with console_page(browser, service) as console:
        console.expected_statuses = {401}
        await console.open()
        await console.page.evaluate(f"sessionStorage.setItem('{TOKEN_KEY}', 'hbapi:1:00:local')")
        await console.page.reload()
        assert await console.alert() == "Your session has ended. Sign in again."
        assert await console.stored_token() is None


async def test_no_answer(console: Console) -> None:
    await console.open()
    await console.page.context.set_offline(True)
    await console.sign_in(ACCOUNT, PASSWORD)
    assert await console.alert() == "The service does not answer. Check your connection, and try again."
    console.complaints.clear()  # of the network that is not there
    await console.page.context.set_offline(False)
    await console.sign_in(ACCOUNT, PASSWORD)
    await expect(console.heading("Overview")).to_be_visible()


async def test_a_reload_while_a_proxy_has_no_service(partner: Console) -> None:
    """Its answer was taken for a defect of the service: the session was forgotten."""
    page = partner.page
    partner.expected_statuses = {502}
    await page.route("**/console/overview", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    await partner.open()
    assert (await partner.alert()).startswith("The service is busy or cannot reach its data.")
    await page.unroute("**/console/overview")
    await partner.totals()
    await expect(page.locator("[role=alert]:visible")).to_have_count(0)


@pytest.mark.parametrize("file", ["words.js", "third_party/chart.js/chart.umd.min.js"])
async def test_a_file_of_the_page_that_does_not_come(partner: Console, file: str) -> None:
    """The page stayed empty, or said that the service had failed."""
    page, hint = partner.page, partner.page.get_by_text("reload the page")
    await page.route(f"**/console/{file}", lambda route: route.abort())
    await partner.open()
    await expect(hint).to_be_visible()
    partner.complaints.clear()  # of the file that did not come
    await page.unroute(f"**/console/{file}")
    await page.reload()
    await partner.totals()
    await expect(hint).to_be_hidden()


async def test_without_javascript(browser: Browser, service: Service) -> None:
    async with console_page(browser, service, java_script_enabled=False) as console:
        await console.open()
        await expect(console.page.get_by_text("The console needs JavaScript")).to_be_visible()


async def test_the_list_of_members_comes_late(browser: Browser, service: Service) -> None:
    async with console_page(browser, service, token=await service.token("admin")) as console:
        page = console.page
        await page.route("**/console/members?*", lambda route: route.abort())
        await console.open(f"segments?member={traffic.MEMBER}")
        await expect(page.locator("#problem")).to_have_text(re.compile("^The service does not answer."))
        await expect(page.locator("#segment-rows tr").first).to_contain_text("12")
        await page.unroute("**/console/members?*")
        await expect(page.locator("#segments-place")).to_have_text("1–25 of 200")
        await expect(page.locator("#problem")).to_be_hidden()
        await expect(page.get_by_label("Member", exact=True)).to_have_value(str(traffic.MEMBER))
        console.complaints.clear()  # of the answers that did not come


async def test_a_form_that_is_open_when_the_list_of_members_comes(admin_tab: Console) -> None:
    """The view was shown once more then, and what was typed was lost."""
    page = admin_tab.page
    form_is_open = asyncio.Event()

    async def hold(route: Route) -> None:
        await form_is_open.wait()
        await route.continue_()

    await page.route("**/console/members?*", hold)
    await admin_tab.open("overview")
    await admin_tab.go_to("Segments")
    await page.get_by_role("button", name="New segment").click()
    name = page.get_by_role("dialog").get_by_label("Name")
    await name.fill("Tea drinkers")
    form_is_open.set()
    await expect(page.locator("#member option")).to_have_count(5)
    await admin_tab.answered()
    await expect(name).to_be_visible()
    await expect(name).to_have_value("Tea drinkers")


async def test_an_answer_that_comes_after_signing_out_is_shown_to_nobody(console: Console) -> None:
    """Whoever signed in next in the tab saw whom the other one had looked up, or that that session was over."""
    page = console.page
    is_late = asyncio.Event()
    shown = page.locator("#look-up-answer, #look-up-problem, #apply-answer, #apply-problem")

    async def hold(route: Route) -> None:
        if route.request.method == "GET":
            response = await route.fetch()
            await is_late.wait()
            await route.fulfill(response=response)
        else:
            await is_late.wait()
            await route.fulfill(status=401)

    await page.route("**/rt-segment*", hold)
    console.expected_statuses = {401}
    await console.open("users")
    await console.sign_in(ACCOUNT, PASSWORD)
    for form in ("#look-up", "#apply"):
        await page.locator(form).get_by_label("User ID").fill("7652266028043224430")
    await page.get_by_label("Segment ID").fill("40001")
    for button in ("Look up", "Apply"):
        async with page.expect_request("**/rt-segment*"):
            await page.get_by_role("button", name=button).click()
    await page.get_by_role("button", name="Sign out").click()
    await console.sign_in(OTHER_ACCOUNT, PASSWORDS[OTHER_ACCOUNT])
    await console.go_to("Users")
    is_late.set()
    for button in ("Look up", "Apply"):  # which may not be pressed again until the answer has come
        await expect(page.get_by_role("button", name=button)).to_be_enabled()
    await expect(shown).to_have_text(["", "", "", ""])
