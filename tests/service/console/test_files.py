"""Jobs of files, as the console shows them."""

import pytest
from playwright.async_api import Route, expect
from support.console.browsers import Console
from support.service.running import ON_ONE_HOST, Service
from support.waiting import eventually

pytestmark = [pytest.mark.wide, ON_ONE_HOST]

FILE = "4711;10003:1440\nno user;10003:1440\n4712;99999:0\n<b>4713</b>\u202e\n"


@pytest.fixture(scope="module")
async def job_number(service: Service) -> int:
    """A file of the member `demo` that is applied, but for some of its lines."""
    async with service.http(headers={"authorization": await service.token()}) as http:
        job = (await http.post("/batch-segment")).json()["response"]["batch_segment_upload_job"]
        (await http.put(job["upload_url"], content=FILE)).raise_for_status()

        async def completes() -> None:
            answer = (await http.get("/batch-segment", params={"job_id": job["job_id"]})).json()["response"]
            assert answer["batch_segment_upload_job"]["phase"] == "completed"

        await eventually(completes, seconds=60)
    return int(job["id"])


async def test_a_job(demo_tab: Console, job_number: int) -> None:
    await demo_tab.open("files")
    job = demo_tab.page.get_by_role("article", name=f"Job {job_number}", exact=True)
    await expect(job.get_by_role("heading")).to_have_text(f"Job {job_number} completed")
    await expect(job.locator("dl > div")).to_have_text(
        [
            "Memberships added and removed1",
            "Lines with a valid user2",
            "Lines whose user is not valid, or is suppressed1",
            "Lines that cannot be read1",
            "Different segments that do not exist1",
        ]
    )
    await job.get_by_text(f"Lines of job {job_number} that were not taken").click()
    lines = job.get_by_role("region", name=f"Lines of job {job_number} that were not taken")
    await expect(lines).to_contain_text("num_invalid_format-<b>4713</b>\ufffd")
    await expect(lines).not_to_contain_text("\u202e")  # which turned round why the line was not taken
    await lines.evaluate("lines => { lines.style.height = '1rem'; lines.scrollTop = 9; }")
    await lines.focus()
    for _ in range(2):  # when it asks for the second time, it has shown the answer to the first
        async with demo_tab.page.expect_response(lambda answer: "/batch-segment?" in answer.url):
            pass
    await expect(lines).to_be_focused()
    assert await lines.evaluate("lines => lines.scrollTop") == 9
    await expect(demo_tab.page.locator("#jobs-place")).to_have_text("1–1 of 1")


async def test_whoever_reads_in_a_job_that_comes_further_keeps_the_place(demo_tab: Console, job_number: int) -> None:
    page = demo_tab.page
    applied = 1

    async def come_further(route: Route) -> None:
        response = await route.fetch()
        answer = await response.json()
        answer["response"]["batch_segment_upload_job"][0]["num_valid"] = applied
        await route.fulfill(response=response, json=answer)

    await page.route("**/batch-segment?*", come_further)
    await demo_tab.open("files")
    job = page.get_by_role("article", name=f"Job {job_number}", exact=True)
    number = job.locator("dd").first
    await expect(number).to_have_text("1")
    name = f"Lines of job {job_number} that were not taken"
    await job.get_by_text(name).focus()
    await page.keyboard.press("Enter")
    applied = 2
    await expect(number).to_have_text("2")
    await expect(job.get_by_text(name)).to_be_focused()
    await page.keyboard.press("Tab")
    applied = 3
    await expect(number).to_have_text("3")
    await expect(job.get_by_role("region", name=name)).to_be_focused()


WATCH = """place => {
  window.told = 0;
  new MutationObserver(() => (window.told += 1)).observe(place, { childList: true });
}"""


@pytest.mark.parametrize(
    ("place", "is_away"), [("#jobs-place", False), ("#jobs-problem", True)], ids=["place", "problem"]
)
async def test_what_stays_is_told_once(demo_tab: Console, job_number: int, place: str, is_away: bool) -> None:
    """Screen readers read it again each few seconds, as it was written anew with each answer."""
    page = demo_tab.page
    if is_away:
        demo_tab.expected_statuses = {503}
        await page.route("**/batch-segment?*", lambda route: route.fulfill(status=503))
    await demo_tab.open("files")
    told = page.locator(place)
    await expect(told).not_to_be_empty()
    await told.evaluate(WATCH)
    for _ in range(2):  # when it asks for the second time, it has shown the answer to the first
        async with page.expect_response(lambda answer: "/batch-segment?" in answer.url):
            pass
    assert await page.evaluate("window.told") == 0
    await expect(told).not_to_be_empty()


async def test_an_address_past_the_last_file(demo_tab: Console, job_number: int) -> None:
    await demo_tab.open("files?start=10")
    await expect(demo_tab.page.get_by_text("There are fewer files now: go back.")).to_be_visible()
    await demo_tab.page.get_by_role("button", name="Back").click()
    await expect(demo_tab.page.locator("#jobs-place")).to_have_text("1–1 of 1")


async def test_an_address_with_a_place_that_is_none(partner: Console) -> None:
    for start in ("-5", "0.5", "x"):
        await partner.open(f"segments?start={start}")
        await expect(partner.page.locator("#segments-place")).to_have_text("1–25 of 200")


async def test_no_files(partner: Console) -> None:
    await partner.open("files")
    await expect(partner.page.get_by_text("No files in the last 30 days.")).to_be_visible()
    await expect(partner.page.get_by_role("button", name="Next")).to_be_disabled()
