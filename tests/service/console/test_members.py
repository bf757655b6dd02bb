"""All members at a glance: for admins."""

import asyncio
import time

import pytest
from playwright.async_api import Route, expect
from support.console import traffic
from support.console.browsers import Console
from support.service.running import ON_ONE_HOST

pytestmark = [pytest.mark.wide, ON_ONE_HOST]


async def test_all_members(admin_tab: Console) -> None:
    page = admin_tab.page
    await admin_tab.open("members")
    await expect(page.locator("#members-place")).to_have_text("1–5 of 5")
    await expect(page.get_by_role("columnheader")).to_have_text(
        ["Member", "Calls applied", "Users", "Added", "Removed", "Match rate", "Refused", "Calls failed"]
    )
    row = page.get_by_role("row", name="Private Member (777)")
    assert await row.locator("td").all_inner_texts() == ["16", "406", "805", "51", "80.2 %", "106", "4"]
    quiet = page.get_by_role("row", name="Demo Publisher (1262)")
    assert await quiet.locator("td").all_inner_texts() == ["0", "0", "0", "0", "–", "0", "0"]
    await row.get_by_role("link").click()
    await expect(admin_tab.heading("Overview")).to_be_visible()
    await expect(page.get_by_label("Member", exact=True)).to_have_value(str(traffic.MEMBER))
    await page.go_back()
    await expect(admin_tab.heading("Members")).to_be_visible()


async def test_names_are_there_before_what_their_members_sent(admin_tab: Console) -> None:
    """Also where the list itself comes after the view is shown: the own member stood there alone."""
    page = admin_tab.page
    held: list[Route] = []
    view_is_shown = asyncio.Event()

    async def hold(route: Route) -> None:
        held.append(route)

    async def hold_list(route: Route) -> None:
        await view_is_shown.wait()
        await route.continue_()

    await page.route("**/console/usage?*", hold)
    await page.route("**/console/members?*", hold_list)
    await admin_tab.open("segments")
    await admin_tab.go_to("Members")
    await expect(page.locator("#member-rows tr")).to_have_count(1)
    view_is_shown.set()
    row = page.get_by_role("row", name="Private Member (777)")
    await expect(row.locator("td")).to_have_text(["…"] * 7)
    await row.get_by_role("link").focus()
    for button in ("Back", "Next"):
        await expect(page.locator("#view-members").get_by_role("button", name=button)).to_be_disabled()
    for route in held:
        await route.continue_()
    await expect(row.locator("td").first).to_have_text("16")
    await expect(row.get_by_role("link")).to_be_focused()


async def test_more_members_than_reads_in_a_second(admin_tab: Console) -> None:
    """All were asked for at once, again and again, and their numbers never came."""
    page = admin_tab.page
    passed: list[float] = []

    async def limit(route: Route) -> None:
        now = time.monotonic()
        if len([each for each in passed if each > now - 1]) < 2:
            passed.append(now)
            await route.continue_()
        else:
            await route.fulfill(status=429, json={"response": {"error_id": "RATE_LIMIT_EXCEEDED", "error": ""}})

    admin_tab.expected_statuses = {429}
    await page.route("**/console/usage?*", limit)
    await admin_tab.open("members")
    await expect(page.locator("#members-place")).to_have_text("1–5 of 5")
    await expect(page.locator("#members-problem")).to_be_hidden()


async def test_a_name_leaves_the_id_beside_it_as_it_is(admin_tab: Console) -> None:
    """Whatever script it is written in, and whatever it has of what turns a line around: 5003 was shown as 3005."""
    names = {5002: "\u05e9\u05dd", 5003: "Name \u202ereversed"}
    members = [{"id": number, "name": name} for number, name in names.items()]
    answer = {"members": members, "next_page_token": ""}
    await admin_tab.page.route("**/console/members?*", lambda route: route.fulfill(json=answer))
    await admin_tab.page.route("**/console/usage?*", lambda route: route.fulfill(status=503))
    admin_tab.expected_statuses.add(503)
    await admin_tab.open("members")
    shown = ["\u2068\u05e9\u05dd\u2069 (5002)", "Name \ufffdreversed (5003)"]
    await expect(admin_tab.page.locator("#member-rows a")).to_have_text(shown)
    await expect(admin_tab.page.locator("#member option")).to_have_text(shown)


async def test_past_the_end(admin_tab: Console) -> None:
    """Back leads to the last page at once."""
    page = admin_tab.page
    await admin_tab.open("members?start=1000")
    await expect(page.locator("#member-rows")).to_have_text("There are fewer members now: go back.")
    view = page.locator("#view-members")
    await expect(view.get_by_role("button", name="Next")).to_be_disabled()
    await view.get_by_role("button", name="Back").click()
    await expect(page.locator("#members-place")).to_have_text("1–5 of 5")


async def test_for_admins_alone(partner: Console) -> None:
    await partner.open("members")
    await expect(partner.heading("Overview")).to_be_visible()
    await expect(partner.page.get_by_role("link", name="Members")).to_have_count(0)
