"""What the console shows, compared with what was sent."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Download, Locator, Page, Route, expect
from support.console import traffic
from support.console.browsers import Console
from support.service.running import ON_ONE_HOST, Service
from support.waiting import eventually

pytestmark = ON_ONE_HOST

CHARTS = ["Calls", "Users", "Memberships", "Refusals", "Match rate"]
SPANS = {"24 hours": 24, "7 days": 168, "14 days": 336}
USER = "12345678900987654321"
MORE = traffic.MORE_SEGMENTS
SAMPLES = 9
"""Entries of the lines of `traffic`."""


def expected_totals(hours: int) -> dict[str, str]:
    total = traffic.total(hours)
    refused = total.invalid_users + total.invalid_segments + total.unauth_segments + total.inactive_segments
    rate = 100 * total.valid_users / (total.valid_users + total.invalid_users)
    return {
        "Calls applied": f"{total.calls:,}",
        "Users accepted": f"{total.valid_users:,}",
        "Memberships added": f"{total.valid_adds:,}",
        "Memberships removed": f"{total.valid_removes:,}",
        "Match rate": f"{rate:.1f} %",
        "Refused blocks and IDs": f"{refused:,}",
        "Calls failed": f"{total.other_errors:,}",
    }


async def drawn(canvas: Locator) -> int:
    """How many different colours a canvas shows."""
    colours: int = await canvas.evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    return colours


@pytest.mark.parametrize(("span", "hours"), SPANS.items(), ids=SPANS)
async def test_totals(partner: Console, span: str, hours: int) -> None:
    await partner.open()
    await partner.page.get_by_role("radio", name=span).check()
    await expect(partner.page.locator("#totals dd").first).to_have_text(expected_totals(hours)["Calls applied"])
    assert await partner.totals() == expected_totals(hours)


async def test_reasons_in_plain_words(partner: Console) -> None:
    await partner.open()
    failed, skipped = (partner.page.locator(f"#{id_} > div") for id_ in ("failed-calls", "skipped-parts"))
    many, large = "Too many calls or users in a second (429)", "The request was too large (413)"
    await expect(failed).to_have_text([f"{many}3", f"{large}1"])
    await expect(skipped).to_have_text(
        [
            "Users whose ID does not have the form of its kind1,200",
            "Segments without an ID, and without code and member5",
        ]
    )
    await partner.page.get_by_role("radio", name="7 days").check()
    await expect(failed.first).to_have_text("The service was busy or could not reach its data (503)12")


async def test_charts(partner: Console) -> None:
    await partner.open()
    await partner.totals()
    figures = partner.page.locator("figure")
    assert await figures.locator("h3").all_inner_texts() == CHARTS
    for index in range(len(CHARTS)):
        assert await drawn(figures.nth(index).locator("canvas")) > 10
    label = await figures.first.locator("canvas").get_attribute("aria-label")
    assert label == "Calls, last 24 hours: Applied 16, Failed 4. The table below has the numbers."
    rate = await figures.last.locator("canvas").get_attribute("aria-label")
    assert rate == "Match rate, last 24 hours: Match rate 80.0 % to 100.0 %. The table below has the numbers."
    bounds = "canvas => { const { min, max } = Chart.getChart(canvas).scales.y; return [min, max]; }"
    # Not from 0 on, where these would look alike.
    assert await figures.last.locator("canvas").evaluate(bounds) == [80, 100]


async def test_tables_beside_charts(partner: Console) -> None:
    await partner.open()
    await partner.totals()
    refusals = partner.page.locator("figure", has=partner.page.get_by_role("heading", name="Refusals"))
    summary = refusals.locator("summary")
    await summary.focus()
    await partner.page.keyboard.press("Enter")
    table = refusals.get_by_role("table", name="Refusals by hour")
    heads = ["Hour (UTC)", "No such segment", "Segment not allowed", "Segment inactive", "Unknown or suppressed user"]
    await expect(table.get_by_role("columnheader")).to_have_text(heads)
    rows = table.locator("tbody tr")
    await expect(rows).to_have_count(1)
    assert await rows.locator("td").all_inner_texts() == ["3", "2", "1", "100"]
    assert re.fullmatch(r"\w{3}, \w{3} \d{1,2}, \d\d:00–\d\d:00", await rows.locator("th").inner_text())
    await partner.page.get_by_role("radio", name="14 days").check()
    day = refusals.get_by_role("table", name="Refusals by day")
    await expect(day.get_by_role("columnheader").first).to_have_text("Day (UTC)")
    assert await day.locator("tbody tr").last.locator("td").all_inner_texts() == ["0", "0", "9", "0"]


async def test_whoever_reads_in_a_table_keeps_the_place(partner: Console) -> None:
    """The numbers are asked for again each minute."""
    page = partner.page
    await page.clock.install()
    await partner.open("overview?hours=168")
    await partner.totals()
    await page.get_by_text("Memberships as a table").click()
    table = page.get_by_role("table", name="Memberships by hour")
    await table.get_by_role("link").last.focus()
    await table.locator("td").last.evaluate("cell => getSelection().selectAllChildren(cell)")
    place = "[document.activeElement.textContent, String(getSelection())]"
    before = await page.evaluate(place)
    assert all(before)
    await page.evaluate("document.activeElement.closest('tbody').dataset.seen = 'yes'")
    async with page.expect_response(lambda answer: "/console/usage" in answer.url):
        await page.clock.fast_forward("01:05")  # `run_for` lets calls time out that have just started
    await partner.answered()
    assert await page.evaluate(place) == before
    await page.get_by_role("radio", name="14 days").check()
    await expect(page.get_by_role("table", name="Memberships by day").locator("tbody")).not_to_have_attribute(
        "data-seen", "yes"
    )


async def test_from_days_into_hours_and_samples(partner: Console) -> None:
    page = partner.page
    await partner.open("overview?hours=336")
    await partner.totals()
    await expect(page.get_by_text("By day (UTC)")).to_be_visible()
    await expect(page.get_by_text("The shaded day is not over yet.")).to_be_visible()
    assert await page.evaluate("Chart.getChart(document.querySelector('canvas')).data.labels.length") == 14
    await page.get_by_text("Refusals as a table").click()
    await page.get_by_role("table", name="Refusals by day").get_by_role("link").last.click()
    await expect(page.get_by_text(re.compile(r"^Hours of \w{3}, \w{3} \d+$"))).to_be_visible()
    await expect(page.get_by_text("is not over yet.")).to_be_hidden()
    assert (await partner.totals())["Memberships added"] == "700"
    assert await page.evaluate("Chart.getChart(document.querySelector('canvas')).data.labels.length") == 24
    await page.get_by_role("table", name="Refusals by hour").get_by_role("link").click()
    await expect(partner.heading("Samples")).to_be_visible()
    hour = page.get_by_label("Hour (UTC)")
    await expect(hour.locator("option:checked")).to_have_text(re.compile(r":00: 7 calls, 9 refused$"))
    await page.reload()
    await expect(hour.locator("option:checked")).to_have_text(re.compile(r":00: 7 calls, 9 refused$"))
    await page.go_back()
    await page.get_by_role("link", name="Back to 14 days").click()
    await expect(page.get_by_role("radio", name="14 days")).to_be_checked()


async def test_a_clock_that_is_behind(partner: Console, service: Service) -> None:
    """Hours of a day were missing without a word: the page asked for those that had passed by its own clock."""
    await partner.page.add_init_script("const now = Date.now.bind(Date); Date.now = () => now() - 24 * 3_600_000;")
    calls = traffic.USAGE[60].calls
    async with service.http(headers={"authorization": await service.token(traffic.ACCOUNT)}) as http:
        hours = (await http.get("/console/usage", params={"hours": 72})).json()["hours"]
    (hour,) = [each["hour"] for each in hours if each["calls"] == str(calls)]  # 61 hours ago where one has ended since
    await partner.open(f"overview?day={hour.partition('T')[0]}")
    assert (await partner.totals())["Calls applied"] == f"{calls:,}"


async def test_hours_as_csv(partner: Console) -> None:
    await partner.open()
    await partner.totals()
    name, rows = await partner.download()
    assert name == f"usage-{traffic.MEMBER}-by-hour.csv"
    assert len(rows) == 24
    assert sum(int(row["valid_adds"]) for row in rows) == traffic.total(24).valid_adds
    await partner.open("overview?hours=168")
    await expect(partner.page.locator("#totals dd").first).to_have_text(f"{traffic.total(168).calls:,}")
    _, rows = await partner.download()
    rates = {row["valid_users"]: row["match_rate"] for row in rows}
    assert rates == {"0": "", "1": "100", "5": "100", "400": "80", "90001": "90"}


async def test_a_csv_is_of_the_time_that_is_chosen(partner: Console) -> None:
    """While its numbers are not there yet, those of the time before were saved, under its name."""
    page, answers = partner.page, asyncio.Event()
    await partner.open()
    await partner.totals()
    downloads: list[Download] = []
    page.on("download", lambda download: downloads.append(download))

    async def hold(route: Route) -> None:
        await answers.wait()
        await route.continue_()

    await page.route("**/console/usage?*", hold)
    async with page.expect_request("**/console/usage?*hours=336*"):
        await page.get_by_role("radio", name="14 days").check()
    button = page.get_by_role("button", name="Download as CSV")
    await button.click(force=True)
    await expect(button).to_have_attribute("aria-disabled", "true")
    answers.set()
    name, rows = await partner.download()
    assert name == f"usage-{traffic.MEMBER}-by-day.csv"
    assert len(rows) == 14
    assert sum(int(row["valid_adds"]) for row in rows) == traffic.total(336).valid_adds
    assert len(downloads) == 1


async def test_a_time_without_traffic(admin_tab: Console) -> None:
    """Charts say that there is nothing, instead of being blank."""
    await admin_tab.open("overview?member=1262")
    assert (await admin_tab.totals())["Match rate"] == "–"
    await expect(admin_tab.page.locator("figure").get_by_text("Nothing in this time.")).to_have_count(len(CHARTS))
    await expect(admin_tab.page.locator("canvas:visible")).to_have_count(0)


async def test_large_totals_stay_whole(partner: Console) -> None:
    """On a phone too, a number is on one line of its tile, and within it."""
    names = ("calls", "valid_users", "valid_adds", "valid_removes", "other_errors")
    hour = {"hour": "2026-11-24T10:00:00Z"} | dict.fromkeys(names, "1642220123456")
    answer = {"hours": [hour], "total": hour}
    await partner.page.set_viewport_size({"width": 320, "height": 700})
    await partner.page.route("**/console/usage?*", lambda route: route.fulfill(json=answer))
    await partner.open()
    assert (await partner.totals())["Memberships added"] == "1,642,220,123,456"
    fits = "numbers => numbers.every(number => number.scrollWidth <= number.clientWidth && number.clientHeight < 40)"
    assert await partner.page.locator("#totals dd").evaluate_all(fits)


async def test_an_outage_and_its_end(partner: Console) -> None:
    """One banner, which goes when everything is up to date again, without anybody's doing."""
    page = partner.page
    await partner.open()
    await partner.totals()
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Refresh").click()
    assert await partner.alert() == "The service does not answer. Check your connection, and try again."
    await page.get_by_role("link", name="Segments").click()
    await expect(page.locator("#segments-problem")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.locator("#segments-place")).to_have_text("1–25 of 200")
    await expect(page.locator("[role=alert]:visible")).to_have_count(0)
    partner.complaints.clear()  # of the network that was not there


async def test_an_answer_that_does_not_come(partner: Console) -> None:
    """Where nothing came, nor a connection's end, the page said nothing, and its button could not be pressed again."""
    page, button = partner.page, partner.page.get_by_role("button", name="Look up")
    await partner.open("users")
    await page.locator("#look-up").get_by_label("User ID").fill(USER)
    await page.clock.install()
    await page.route("**/rt-segment?*", lambda _: None)
    async with page.expect_request("**/rt-segment?*"):
        await button.click()
    await page.clock.run_for("00:31")
    assert await partner.alert() == "The service does not answer. Check your connection, and try again."
    await page.unroute("**/rt-segment?*")
    await button.click()
    await expect(page.locator("#look-up-answer")).to_contain_text(USER)


async def test_quotas(demo_tab: Console, service: Service) -> None:
    await demo_tab.open()
    cards = demo_tab.page.locator(".quota")
    await expect(cards).to_have_count(3)
    assert await cards.locator("meter").evaluate_all("meters => meters.map(meter => meter.max)") == [100, 1000, 1000]
    body = {"rt_segment": [{"user_id": str(number), "seg_block": [{"seg_id": 10001}]} for number in (1, 2, 3)]}

    async with posting(service, body):
        shown = cards.first.locator("small")
        await expect(shown).to_have_text(re.compile(r"Most seen since you opened this page: [1-9]"))
    users = await cards.nth(1).locator("small").inner_text()
    assert int(users.rpartition(" ")[2]) % 3 == 0
    assert not users.endswith(" 0")


async def test_what_one_has_selected_stays_when_the_numbers_come_again(partner: Console) -> None:
    page = partner.page
    await partner.open()
    await partner.totals()
    numbers = page.locator("#totals dd, #quotas b")
    await expect(numbers).to_have_count(7 + 3)
    await numbers.evaluate_all("numbers => numbers.forEach(number => number.dataset.selected = '')")
    for path in ("usage", "overview"):
        async with page.expect_response(f"**/console/{path}?*"):
            await page.get_by_role("button", name="Refresh").click()
    await partner.answered()
    assert await numbers.evaluate_all("numbers => numbers.filter(each => 'selected' in each.dataset).length") == 7 + 3


@contextlib.asynccontextmanager
async def posting(service: Service, body: object) -> AsyncIterator[None]:
    """A member that goes on calling: some tens of calls a second, below its limit."""

    async def go_on() -> None:
        async with service.http(headers={"authorization": await service.token()}) as http:
            while True:
                (await http.post("/rt-segment", json=body)).raise_for_status()
                await asyncio.sleep(0.03)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_samples(partner: Console) -> None:
    await partner.open("samples")
    choice = partner.page.get_by_label("Hour (UTC)")
    await expect(choice.locator("option")).to_have_count(len(traffic.USAGE))
    names = await choice.locator("option").all_inner_texts()
    assert names[0].endswith(":00: 10 calls, 106 refused")
    assert names[1].endswith(":00: 5 calls")
    rows = partner.page.locator("#sample-rows tr")
    await expect(rows).to_have_count(SAMPLES)  # newest first, in words, and no markup
    cells = [await row.locator("td").all_inner_texts() for row in await rows.all()]
    assert [row[1:] for row in cells] == [
        ["–", "41 <b>old</b>", "–", "Segment is inactive"],
        ["–", "99", "–", "No such segment"],
        ["a-b", "–", "–", "Unknown external ID"],
        ["c", "–", "–", "Unknown external ID"],
        ["17", "40001", "–", "Removed"],
        ["17", "40002", "60", "Added"],
        ["9", "40002", "for ever", "Added"],
        ["–", "7 it's, (1 of member 1262", "–", "Accepted"],
        ["18", "–", "–", "Accepted"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:00", row[0]) for row in cells)


async def test_samples_are_filtered_and_sorted(partner: Console) -> None:
    await partner.open("samples")
    rows, place = partner.page.locator("#sample-rows tr"), partner.page.locator("#samples-place")
    await expect(place).to_have_text(f"1–{SAMPLES} of {SAMPLES}")
    await partner.page.get_by_label("Show", exact=True).select_option("not applied")
    await expect(rows).to_have_count(4)
    await partner.page.get_by_label("Show", exact=True).select_option("all")
    await partner.page.get_by_label("User, segment or result").fill("40002")
    await partner.page.keyboard.press("Enter")
    await expect(rows).to_have_count(2)
    await partner.page.get_by_role("button", name="User", exact=True).click()
    await expect(rows.first.locator("td").nth(1)).to_have_text("9")  # numbers by their size
    await partner.page.get_by_role("button", name="User", exact=True).click()
    await expect(rows.first.locator("td").nth(1)).to_have_text("17")
    await partner.page.get_by_label("User, segment or result").fill("nobody at all")
    await partner.page.keyboard.press("Enter")
    await expect(rows).to_have_text(["No entry of this hour is like that."])


async def test_hours_without_lines(partner: Console) -> None:
    """Of what the checks skipped, and of calls that failed, there are counts alone."""
    await partner.open("samples")
    rows = partner.page.locator("#sample-rows tr")
    choice = partner.page.get_by_label("Hour (UTC)")
    for index in (1, 2, 4):
        await choice.select_option(index=index)
        await expect(rows).to_have_text(["This hour has no samples: the overview counts what was sent."])


async def test_no_samples(admin_tab: Console) -> None:
    await admin_tab.open("samples")
    await admin_tab.page.get_by_label("Member", exact=True).select_option("1262")
    await expect(admin_tab.page.get_by_text("Nothing was sent in the last 14 days.")).to_be_visible()
    await expect(admin_tab.page.get_by_label("Hour (UTC)")).to_be_disabled()


async def test_segments(partner: Console) -> None:
    await partner.open("segments")
    rows, place = partner.page.locator("#segment-rows tr"), partner.page.locator("#segments-place")
    back, on = (partner.page.get_by_role("button", name=name) for name in ("Back", "Next"))
    await expect(place).to_have_text("1–25 of 200")
    await expect(rows).to_have_count(25)
    await expect(rows.first.locator("th")).to_have_text("Private segment\nsecret", use_inner_text=True)
    cells = await rows.first.locator("td").all_inner_texts()
    assert cells[:3] == ["40001", "0", "by default"]
    await expect(back).to_be_disabled()
    await on.click()
    await expect(place).to_have_text("26–50 of 200")
    await expect(partner.page.get_by_role("status").filter(has_text="26–50 of 200")).to_have_count(1)  # told once
    await partner.open("segments?start=175")
    await expect(place).to_have_text("176–200 of 200")
    await expect(on).to_be_disabled()
    await back.click()
    await expect(place).to_have_text("151–175 of 200")
    await partner.open("segments?size=100")
    await expect(rows).to_have_count(100)
    await partner.page.get_by_label("Code, name or ID").fill("NUMBER 2")
    await partner.page.keyboard.press("Enter")
    await expect(place).to_have_text("1–11 of 11")
    await partner.page.get_by_label("Code, name or ID").fill("<none>")
    await partner.page.keyboard.press("Enter")
    await expect(rows).to_have_text(["No segment's code, name or ID is or holds “<none>”."])


async def test_a_long_name_leaves_room_for_the_others(partner: Console) -> None:
    await partner.open("segments")
    await expect(partner.page.locator("#segment-rows")).to_contain_text(traffic.LONG_NAME)
    frame = partner.page.get_by_role("region", name="Table of segments")
    assert await frame.evaluate("frame => frame.scrollWidth <= frame.clientWidth")


async def test_segment_sizes_and_states(demo_tab: Console, service: Service) -> None:
    body = {"rt_segment": [{"user_id": str(number), "seg_block": [{"seg_id": 12}]} for number in range(1, 8)]}
    async with service.http(headers={"authorization": await service.token()}) as http:
        (await http.post("/rt-segment", json=body)).raise_for_status()
    await demo_tab.open("segments")
    size = demo_tab.page.get_by_role("row", name="Mobile early adopters").locator("td").nth(1)

    async def follows() -> None:
        await demo_tab.page.get_by_role("button", name="Search").click()
        await expect(size).to_have_text("7", timeout=500)

    await eventually(follows)
    await expect(demo_tab.page.get_by_role("row", name="Old campaign").locator(".badge")).to_have_text("inactive")


async def apply(page: Page, user: str, segment: str) -> str:
    """Fill the form in, send it, and say what the page says."""
    form = page.locator("#apply")
    await form.get_by_label("User ID").fill(user)
    await form.get_by_label("Segment ID").fill(segment)
    await form.get_by_role("button", name="Apply").click()
    await expect(form.get_by_role("button", name="Apply")).to_be_enabled()
    return str(await page.locator("#apply-answer .outcome").inner_text())


async def look_up(page: Page, user: str) -> list[str]:
    """The user's memberships as the page shows them."""
    form = page.locator("#look-up")
    await form.get_by_label("User ID").fill(user)
    async with page.expect_response(lambda answer: "/rt-segment?" in answer.url):
        await form.get_by_role("button", name="Look up").click()
    await expect(form.get_by_role("button", name="Look up")).to_be_enabled()
    return [re.sub(r"\s+", " ", row) for row in await page.locator("#look-up-answer tbody tr").all_inner_texts()]


async def test_applying_and_reading_back(demo_tab: Console) -> None:
    page = demo_tab.page
    await demo_tab.open("users")
    await expect(page.locator("#users-member")).to_have_text("Both act as your own member, Demo Data Provider (123).")
    await expect(page.locator("#known-segments option[value='10001']")).to_have_text("Sports fans (sports_fans)")
    await page.get_by_label("Membership ends").select_option("minutes")
    await page.get_by_label("Minutes", exact=True).fill("90")
    await page.locator("#apply").get_by_label("Value").fill("-5")
    assert await apply(page, USER, "10001") == f"Done: user {USER} is in segment 10001 now."
    await page.get_by_text("The whole answer").click()
    assert '"segments_in_request": 1' in await page.get_by_label("The whole answer").inner_text()
    await page.get_by_label("Membership ends").select_option("never")
    await apply(page, USER, "12")
    assert await look_up(page, USER) == ["12 123 -5 never ends", "10001 sports_fans 123 -5 90 minutes"]
    await page.get_by_label("Remove the user").check()
    await expect(page.get_by_label("Membership ends")).to_be_hidden()
    assert await apply(page, USER, "10001") == f"Done: user {USER} is not in segment 10001 now."
    await apply(page, USER, "12")
    assert await look_up(page, USER) == []
    text = await page.locator("#look-up-answer").inner_text()
    assert text == f"User {USER} is in no segment that you may see."


async def test_no_minutes_are_not_for_ever(demo_tab: Console) -> None:
    """An empty field was sent as 0: the membership never ended."""
    page = demo_tab.page
    await demo_tab.open("users")
    form = page.locator("#apply")
    await form.get_by_label("User ID").fill(USER)
    await form.get_by_label("Segment ID").fill("10001")
    await form.get_by_label("Membership ends").select_option("minutes")
    for minutes in ("", "90"):
        await form.get_by_label("Minutes").fill(minutes)
        await form.get_by_role("button", name="Apply").click()
    await expect(page.locator("#apply-answer .good")).to_be_visible()
    sent = [request.post_data_json for request in demo_tab.requests if request.method == "POST"]
    assert [change["rt_segment"][0]["seg_block"][0]["expiration"] for change in sent] == [90]


async def test_segments_are_suggested_as_one_types(partner: Console) -> None:
    """Of any number of segments, by name, code or ID."""
    await partner.open("users")
    options = partner.page.locator("#known-segments option")
    await expect(options).to_have_count(100)
    last = MORE - 1
    await partner.page.get_by_label("Segment ID").fill(f"NUMBER {last}")
    await expect(options).to_have_text([f"Number {last} (more_{last})"])
    await partner.page.get_by_label("Segment ID").fill(f"more_{last - 1}")
    await expect(options).to_have_text([f"Number {last - 1} (more_{last - 1})"])
    segment_id = int(await options.get_attribute("value") or 0) - 1
    await partner.page.get_by_label("Segment ID").fill(str(segment_id))
    await expect(options).to_have_text([f"Number {last - 2} (more_{last - 2})"])


WARNINGS = {
    "unknown segment": (USER, "99", "There is no segment 99."),
    "another member's": (USER, "40001", "Your member may not use segment 40001."),
    "inactive": (USER, "30001", "Segment 30001 is inactive and takes nobody."),
    "no platform ID": ("<i>0</i>", "10001", "“<i>0</i>” is not an ID of the chosen kind."),
}


@pytest.mark.parametrize(("user", "segment", "text"), WARNINGS.values(), ids=WARNINGS)
async def test_warnings_in_plain_words(demo_tab: Console, user: str, segment: str, text: str) -> None:
    await demo_tab.open("users")
    assert await apply(demo_tab.page, user, segment) == "Nothing was changed."
    assert (await demo_tab.page.locator(".warnings li").first.inner_text()).startswith(text)


async def test_device_ids(demo_tab: Console) -> None:
    page = demo_tab.page
    await demo_tab.open("users")
    for form in ("#apply", "#look-up"):
        await page.locator(form).get_by_label("Kind of ID").select_option("idfa")
    device = "1BA98A6C-D1A5-49EF-AD1C-2D9230EBCD13"
    await apply(page, device, "10002")
    assert await look_up(page, device) == ["10002 car_shoppers 123 0 about 30 days"]


async def test_errors_in_plain_words(demo_tab: Console) -> None:
    demo_tab.expected_statuses = {400}
    await demo_tab.open("users")
    form = demo_tab.page.locator("#look-up")
    await form.get_by_label("User ID").fill("0")
    await form.get_by_role("button", name="Look up").click()
    assert (await demo_tab.alert()).startswith("The service cannot read this: ")


async def test_an_admin_chooses_the_member(admin_tab: Console) -> None:
    await admin_tab.open()
    assert (await admin_tab.totals())["Users accepted"] != expected_totals(24)["Users accepted"]
    choice = admin_tab.page.get_by_label("Member", exact=True)
    await expect(choice.locator("option")).to_have_count(5)
    await choice.select_option(label="Private Member (777)")
    await expect(admin_tab.page.locator("#totals dd").first).to_have_text("16")
    assert await admin_tab.totals() == expected_totals(24)
    await admin_tab.go_to("Segments")
    await expect(admin_tab.page.locator("#segments-place")).to_have_text("1–25 of 200")
    await admin_tab.go_to("Users")
    text = "Both act as your own member, Demo Data Provider (123), not as Private Member (777), which is chosen above."
    await expect(admin_tab.page.locator("#users-member")).to_have_text(text)


async def test_samples_lead_to_what_counts_of_the_same_member(admin_tab: Console) -> None:
    """An admin was led to the own member's."""
    page = admin_tab.page
    await admin_tab.open(f"samples?member={traffic.MEMBER}")
    await expect(page.locator("#sample-rows tr").first).to_be_visible()
    await page.locator("main").get_by_role("link", name="overview").click()
    await expect(admin_tab.heading("Overview")).to_be_focused()
    await expect(page.get_by_label("Member", exact=True)).to_have_value(str(traffic.MEMBER))


async def test_others_do_not(partner: Console) -> None:
    await partner.open()
    await partner.totals()
    await expect(partner.page.get_by_label("Member", exact=True)).to_be_hidden()
    assert not any("/console/members?" in request.url for request in partner.requests)


async def test_nobody_looks(partner: Console) -> None:
    """A tab that is left alone asks nothing, so its session can end."""
    await partner.page.clock.install()
    await partner.open()
    await partner.totals()
    await partner.page.clock.fast_forward("14:00")
    await partner.answered()

    async def asks_after(time: str) -> bool:
        before = len(partner.requests)
        await partner.page.clock.run_for(time)
        await partner.answered()
        return len(partner.requests) > before

    assert await asks_after("00:10")
    await partner.page.clock.fast_forward("01:00")
    await partner.answered()
    assert not await asks_after("10:00")
    await partner.page.keyboard.press("Tab")
    assert await asks_after("00:10")
