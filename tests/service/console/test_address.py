"""The console's address says what is shown: going back, reloading and sending a link on show it again."""

import asyncio
import csv
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from playwright.async_api import Error, Route, expect
from support.console import traffic
from support.console.browsers import Console
from support.service.running import ON_ONE_HOST, PASSWORDS

pytestmark = [pytest.mark.wide, ON_ONE_HOST]

MORE = traffic.MORE_SEGMENTS


async def test_segments(partner: Console) -> None:
    page = partner.page
    rows, place = page.locator("#segment-rows tr"), page.locator("#segments-place")
    heads = page.get_by_role("columnheader")
    await partner.open("segments")
    await expect(place).to_have_text("1–25 of 200")
    await expect(heads.filter(has_text="ID")).to_have_attribute("aria-sort", "ascending")
    await page.get_by_role("button", name="ID", exact=True).press("Enter")
    await expect(heads.filter(has_text="ID")).to_have_attribute("aria-sort", "descending")
    await expect(page.get_by_role("button", name="ID", exact=True)).to_be_focused()
    await expect(rows.first).to_contain_text(f"Number {MORE - 1}")
    await page.get_by_label("A page has").select_option("50")
    await expect(place).to_have_text("1–50 of 200")
    await page.get_by_label("Code, name or ID").fill("more_1")
    await page.get_by_role("button", name="Search").click()
    await expect(place).to_have_text("1–50 of 110")
    assert page.url.partition("#")[2] == "segments?sort=id.desc&size=50&search=more_1"
    await page.reload()
    await expect(place).to_have_text("1–50 of 110")
    await expect(rows.first).to_contain_text(f"Number {MORE - 1}")
    await expect(page.get_by_label("Code, name or ID")).to_have_value("more_1")
    await partner.go_to("Samples")
    await partner.go_to("Segments")  # the link leads to where one was
    await expect(place).to_have_text("1–50 of 110")
    for _ in range(3):
        await page.go_back()
    await expect(place).to_have_text("1–50 of 200")
    await expect(page.get_by_label("Code, name or ID")).to_have_value("")
    await page.get_by_label("Code, name or ID").fill("40001")
    await page.get_by_role("button", name="Search").click()
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("Private segment")
    await page.get_by_label("State").select_option("inactive")
    await expect(rows).to_have_text(["No inactive segment's code, name or ID is or holds “40001”."])


async def test_an_address_with_what_is_no_choice(partner: Console) -> None:
    """A state that is none stayed in the address, and pages of a size that the service does not give led nowhere."""
    page, place = partner.page, partner.page.locator("#segments-place")
    await partner.open("segments?state=gone&size=1000&search=more_")
    await expect(place).to_have_text(f"1–25 of {MORE}")
    await expect(page.get_by_label("State")).to_have_value("")
    await page.get_by_role("button", name="Next").click()
    await expect(place).to_have_text(f"26–50 of {MORE}")
    await page.get_by_label("Code, name or ID").fill("more_1")
    await page.get_by_role("button", name="Search").click()
    await expect(place).to_have_text("1–25 of 110")
    assert page.url.partition("#")[2] == "segments?search=more_1"


async def test_segments_as_csv(partner: Console) -> None:
    """All that are found, which are more than are shown, and than an answer has."""
    await partner.open("segments?search=more_")
    await expect(partner.page.locator("#segments-place")).to_have_text(f"1–25 of {MORE}")
    name, rows = await partner.download()
    assert name == f"segments-{traffic.MEMBER}.csv"
    assert [row["code"] for row in rows] == [f"more_{number}" for number in range(MORE)]
    assert {(row["state"], row["expire_minutes"], row["estimated_users"]) for row in rows} == {("active", "", "0")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["last_modified"]) for row in rows)


@asynccontextmanager
async def held_download(console: Console) -> AsyncIterator[None]:
    """Of a file that has begun, the first answer is held back until the end."""
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await console.page.route("**/segment?*start_element=0&num_elements=100*", lambda route: held.set_result(route))
    await console.page.get_by_role("button", name="Download as CSV").click()
    route = await held
    yield
    with suppress(Error):  # Nobody may wait for it any more.
        await route.continue_()


async def test_a_file_holds_what_was_asked_for_when_it_began(partner: Console) -> None:
    """Its later pages were those of what was looked for meanwhile."""
    page, place = partner.page, partner.page.locator("#segments-place")
    await partner.open("segments?search=more_")
    await expect(place).to_have_text(f"1–25 of {MORE}")
    async with page.expect_download() as started, held_download(partner):
        await page.get_by_label("Code, name or ID").fill("more_1")
        await page.get_by_role("button", name="Search").click()
        await expect(place).to_have_text("1–25 of 110")
    file = await started.value
    with (await file.path()).open(newline="") as content:
        assert [row["code"] for row in csv.DictReader(content)] == [f"more_{number}" for number in range(MORE)]


async def test_a_file_waits_for_the_limit_of_a_second(partner: Console) -> None:
    """Whatever had come of it was given up when one of its pages met a limit that others had used up."""
    refusals = iter([{"retry-after": "1"}, {}])

    async def refuse(route: Route) -> None:
        headers = next(refusals, None)
        error = {"response": {"error_id": "RATE_LIMIT_EXCEEDED", "error": ""}}
        await (route.continue_() if headers is None else route.fulfill(status=429, headers=headers, json=error))

    partner.expected_statuses = {429}
    await partner.page.route("**/segment?*start_element=100&num_elements=100*", refuse)
    await partner.open("segments?search=more_")
    _, rows = await partner.download()
    assert [row["code"] for row in rows] == [f"more_{number}" for number in range(MORE)]
    assert next(refusals, None) is None


async def test_a_file_is_given_up_with_its_session(console: Console) -> None:
    """Its next page was asked for without a token: what was typed to sign in was gone."""
    page = console.page
    await console.open("segments")
    await console.sign_in(traffic.ACCOUNT, PASSWORDS[traffic.ACCOUNT])
    await expect(page.locator("#segments-place")).to_have_text("1–25 of 200")
    async with held_download(console):
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_label("User name").fill("demo")
    await expect(page.locator("#segments-download")).to_be_enabled()
    await expect(page.get_by_label("User name")).to_have_value("demo")
    await expect(page.locator("#sign-in-problem")).to_be_hidden()


async def test_the_member(admin_tab: Console) -> None:
    page = admin_tab.page
    choice = page.get_by_label("Member", exact=True)
    await admin_tab.open(f"segments?member={traffic.MEMBER}&start=25")
    await expect(page.locator("#segments-place")).to_have_text("26–50 of 200")
    await expect(choice).to_have_value(str(traffic.MEMBER))
    await admin_tab.go_to("Overview")
    assert page.url.endswith(f"#overview?member={traffic.MEMBER}")
    await expect(page.locator("#totals dd").first).to_have_text("16")
    await admin_tab.go_to("Segments")
    await choice.select_option("1262")
    await expect(page.locator("#segment-rows tr").first).to_contain_text("20002")
    assert page.url.endswith("#segments?member=1262")
    await page.go_back()
    await expect(page.locator("#segments-place")).to_have_text("26–50 of 200")
    await expect(choice).to_have_value(str(traffic.MEMBER))


async def test_another_member_is_for_admins(partner: Console) -> None:
    await partner.open("segments?member=123")
    await expect(partner.page.locator("#segments-place")).to_have_text("1–25 of 200")
    await expect(partner.page.locator("#problem")).to_contain_text(
        "There is no member “123” that you may look at: this"
    )
    await partner.go_to("Overview")
    await expect(partner.page.locator("#problem")).to_be_hidden()


async def test_a_member_that_there_is_not(admin_tab: Console) -> None:
    """Its address showed the own member's segments, and nothing said so."""
    await admin_tab.open("segments?member=99999")
    told = admin_tab.page.locator("#problem")
    await expect(told).to_contain_text("There is no member “99999” that you may look at: this is ")
    await admin_tab.page.get_by_label("Member", exact=True).select_option("1262")
    await expect(admin_tab.page.locator("#segment-rows tr").first).to_contain_text("20002")
    await expect(told).to_be_hidden()
