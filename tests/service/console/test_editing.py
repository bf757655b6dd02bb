"""Making and changing segments in the console."""

import asyncio
import re
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Locator, Route, expect
from support.console.browsers import Console
from support.service.running import ON_ONE_HOST, PASSWORDS, Service

pytestmark = [pytest.mark.wide, ON_ONE_HOST]


def code_of_nothing() -> str:
    """A code that no segment has, however often a test runs on a service."""
    return f"code_{secrets.token_hex(4)}"


async def fill(form: Locator, **values: str) -> None:
    """Fill fields in, by the beginnings of their labels, and save."""
    for label, value in values.items():
        await form.get_by_label(label.replace("_", " ")).fill(value)
    await form.get_by_role("button", name="Save").click()


async def test_a_segment_is_made_changed_and_deactivated(demo_tab: Console, service: Service) -> None:
    page = demo_tab.page
    demo_tab.expected_statuses = {409}
    code = code_of_nothing()
    await demo_tab.open(f"segments?search={code}")
    form = page.get_by_role("dialog")
    rows = page.locator("#segment-rows tr")
    await expect(rows).to_have_text([f"No segment's code, name or ID is or holds “{code}”."])
    await page.get_by_role("button", name="New segment").click()
    await expect(form.get_by_role("heading")).to_have_text("New segment")
    await expect(form.get_by_label("Name")).to_be_focused()
    await fill(form, Name="Tea drinkers", Code="sports_fans")
    await expect(form.get_by_role("alert")).to_contain_text("This does not fit what is there:")
    await fill(form, Code=code, Membership_lasts="1440")
    await expect(form).to_be_hidden()
    await expect(rows.locator("th")).to_have_text(f"Tea drinkers{code}")
    cells = rows.locator("td")
    number = await cells.first.inner_text()
    await expect(cells.nth(2)).to_have_text("about 24 hours")
    await expect(page.get_by_role("status").filter(has_text=f"Segment {number} is saved.")).to_have_count(1)

    async with service.http(headers={"authorization": await service.token()}) as http:
        await page.get_by_role("button", name=f"Edit segment {number}").click()
        change = {"segment": {"description": "black or green"}}  # by somebody else, meanwhile
        (await http.put("/segment", params={"id": number}, json=change)).raise_for_status()
        await form.get_by_label("Whether users can join").select_option("inactive")
        await fill(form, Name="Drinkers of tea", Membership_lasts="")
        await expect(rows.locator(".badge")).to_have_text("inactive")
        await expect(page.get_by_role("button", name=f"Edit segment {number}")).to_be_focused()
        segment = (await http.get("/segment", params={"id": number})).json()["response"]["segment"]
    names = ("code", "short_name", "description", "state", "expire_minutes")
    assert [segment[name] for name in names] == [code, "Drinkers of tea", "black or green", "inactive", None]


async def test_enter_once_more_makes_no_other_segment(demo_tab: Console) -> None:
    """Pressed thrice, or held, it opened the form again, and saved a segment without code and name."""
    page = demo_tab.page
    await demo_tab.open("segments")
    await page.get_by_role("button", name="New segment").click()
    form = page.get_by_role("dialog")
    await form.get_by_label("Name").fill("Made once")
    await page.keyboard.press("Enter")
    await expect(form).to_be_hidden()
    await expect(page.get_by_role("heading", name="Segments")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(form).to_be_hidden()


async def test_what_the_form_cannot_show_stays(demo_tab: Console, service: Service) -> None:
    """Nobody has changed the name: it was written anew, without the end of its line."""
    async with service.http(headers={"authorization": await service.token()}) as http:
        created = await http.post("/segment", json={"segment": {"short_name": "Two\nlines "}})
        number = created.json()["response"]["id"]
        await demo_tab.open(f"segments?search={number}")
        await demo_tab.page.get_by_role("button", name=f"Edit segment {number}").click()
        form = demo_tab.page.get_by_role("dialog")
        await fill(form, Description="a description")
        await expect(form).to_be_hidden()
        segment = (await http.get("/segment", params={"id": number})).json()["response"]["segment"]
    assert (segment["short_name"], segment["description"]) == ("Two\nlines ", "a description")


@pytest.mark.parametrize("key", ["Escape", "Cancel"])
async def test_nothing_is_changed(partner: Console, key: str) -> None:
    page = partner.page
    await partner.open("segments")
    edit = page.get_by_role("button", name="Edit segment 40001")
    await edit.click()
    await page.get_by_role("dialog").get_by_label("Name").fill("Something else")
    if key == "Escape":
        await page.keyboard.press(key)
    else:
        await page.get_by_role("button", name=key).click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(edit).to_be_focused()
    assert not any(request.method == "PUT" for request in partner.requests)
    await edit.click()
    await expect(page.get_by_role("dialog").get_by_label("Name")).to_have_value("Private segment")


async def test_a_form_stays_that_is_opened_while_another_one_is_saved(demo_tab: Console) -> None:
    """The late answer closed it, and what was typed was lost; nor could it be saved before that."""
    page = demo_tab.page
    late = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PUT" and not late.is_set():
            await late.wait()
        await route.continue_()

    await page.route("**/segment?id=10001", hold)
    await demo_tab.open("segments")
    form = page.get_by_role("dialog")
    await page.get_by_role("button", name="Edit segment 10001").click()
    await fill(form, Description="the first")
    await page.keyboard.press("Escape")
    other = page.get_by_role("button", name="Edit segment 10002")
    await other.click()
    await form.get_by_label("Description").fill("the second")
    async with page.expect_response("**/segment?id=10001"):
        late.set()
    await expect(page.get_by_role("status").filter(has_text="Segment 10001 is saved.")).to_have_count(1)
    await expect(form.get_by_label("Description")).to_have_value("the second")
    await fill(form)
    await expect(page.get_by_role("status").filter(has_text="Segment 10002 is saved.")).to_have_count(1)
    await expect(form).to_be_hidden()
    await expect(other).to_be_focused()  # although the rows were made anew while the form was open


async def test_a_save_that_fails_behind_a_closed_form_is_told(demo_tab: Console) -> None:
    """It was written into the form, where nobody saw it."""
    page = demo_tab.page
    late = asyncio.Event()

    async def fail(route: Route) -> None:
        if route.request.method != "PUT":
            await route.continue_()
            return
        await late.wait()
        await route.fulfill(status=503, json={"response": {"error_id": "UNAVAILABLE", "error": ""}})

    demo_tab.expected_statuses = {503}
    await page.route("**/segment?id=10001", fail)
    await demo_tab.open("segments")
    await page.get_by_role("button", name="Edit segment 10001").click()
    await fill(page.get_by_role("dialog"), Description="in vain")
    await page.keyboard.press("Escape")
    late.set()
    assert (await demo_tab.alert()).startswith("Segment 10001: The service is busy or cannot reach its data.")


async def test_who_edits_goes_on_at_the_beginning_where_the_segment_is_shown_no_more(
    demo_tab: Console, service: Service
) -> None:
    page = demo_tab.page
    async with service.http(headers={"authorization": await service.token()}) as http:
        number = (await http.post("/segment", json={"segment": {"short_name": "Over"}})).json()["response"]["id"]
    await demo_tab.open(f"segments?search={number}&state=active")
    form = page.get_by_role("dialog")
    await page.get_by_role("button", name=f"Edit segment {number}").click()
    await form.get_by_label("Whether users can join").select_option("inactive")
    await fill(form)
    await expect(page.locator("#segment-rows")).to_contain_text("No active segment")
    await expect(page.get_by_role("heading", name="Segments")).to_be_focused()


async def test_what_is_looked_for_after_a_save_is_loaded_again(demo_tab: Console) -> None:
    """A worker that did not know of the change yet may have answered."""
    page = demo_tab.page
    await page.clock.install()
    await demo_tab.open("segments?search=10001")
    await page.get_by_role("button", name="Edit segment 10001").click()
    await page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))  # all of it in no time
    await fill(page.get_by_role("dialog"), Description="once more")
    await expect(page.get_by_role("status").filter(has_text="Segment 10001 is saved.")).to_have_count(1)
    await page.get_by_label("Code, name or ID").fill("10002")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Edit segment 10002")).to_be_visible()
    await demo_tab.answered()
    async with page.expect_request("**/segment?*search=10002*"):
        await page.clock.run_for(1_500)


async def test_what_is_saved_twice_is_not_loaded_again_after_signing_out(console: Console) -> None:
    """The first save's later load went on, without a token, and said that the session had ended."""
    page = console.page
    await page.clock.install()
    await console.open(f"segments?search={code_of_nothing()}")
    await console.sign_in("demo", PASSWORDS["demo"])
    form = page.get_by_role("dialog")
    await expect(page.locator("#segment-rows")).to_contain_text("No segment")
    await page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))  # both are saved in no time
    for number in range(2):
        await page.get_by_role("button", name="New segment").click()
        await fill(form, Name=f"Saved {number}")
        await expect(page.locator("#news")).to_have_text(re.compile("is saved"))
        await expect(form).to_be_hidden()
    await page.get_by_role("button", name="Sign out").click()
    await console.answered()
    before = len(console.requests)
    await page.clock.run_for(10_000)
    await console.answered()
    assert console.requests[before:] == []
    await expect(page.locator("#sign-in-problem")).to_be_hidden()


async def test_a_name_is_as_long_as_the_service_lets_it_be(demo_tab: Console, service: Service) -> None:
    """The page counted halves of such letters, and left out what it thought too much, as of an ID, without a word."""
    page = demo_tab.page
    demo_tab.expected_statuses = {400}
    code = code_of_nothing()
    await demo_tab.open(f"segments?search={code}")
    form = page.get_by_role("dialog")
    await page.get_by_role("button", name="New segment").click()
    await form.get_by_label("Name").focus()
    await page.keyboard.insert_text("🦒" * 256)
    await fill(form, Code=code)
    await expect(form.get_by_role("alert")).to_contain_text("short_name")
    await fill(form, Name="🦒" * 255)
    await expect(form).to_be_hidden()
    async with service.http(headers={"authorization": await service.token()}) as http:
        segment = (await http.get("/segment", params={"code": code})).json()["response"]["segment"]
    assert segment["short_name"] == "🦒" * 255


async def test_what_may_have_been_made_is_not_made_twice_without_a_word(demo_tab: Console) -> None:
    page = demo_tab.page

    async def lose(route: Route) -> None:
        await (route.abort() if route.request.method == "POST" else route.continue_())

    await page.route("**/segment?member_id=*", lose)
    await demo_tab.open("segments")
    form = page.get_by_role("dialog")
    await page.get_by_role("button", name="New segment").click()
    await fill(form, Name="Twins")
    await expect(form.get_by_role("alert")).to_contain_text("may have been made")
    await fill(form, Code="twins")
    await expect(form.get_by_role("alert")).to_contain_text("try again.")
    await expect(form.get_by_role("alert")).not_to_contain_text("may have been made")
    demo_tab.complaints.clear()  # of the answers that did not come
