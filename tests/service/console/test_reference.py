"""The page of the REST API in a browser: it shows the calls, and makes them."""

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect
from support.cluster.stored import forget_users
from support.console.browsers import SERIOUS, TIMEOUT_MS
from support.service.running import ON_ONE_HOST, Service

TRANSITIONS_END = """() => Promise.allSettled(
    document.getAnimations().filter((each) => each instanceof CSSTransition).map((each) => each.finished)
)"""


@ON_ONE_HOST
async def test_a_call_that_is_tried_from_the_page(browser: Browser, service: Service) -> None:
    """Its example puts a user into segments. axe finds nothing serious on the way."""
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(TIMEOUT_MS)
    try:
        await page.goto(f"{service.url}/docs")
        await page.get_by_role("button", name="Authorize").first.click()
        found = await serious(page)
        await (
            page.get_by_label("auth-api-key-value")
            .or_(page.locator("section input"))
            .first.fill(await service.token("demo"))
        )
        await page.locator(".auth-btn-wrapper .authorize").first.click()
        await page.locator(".btn-done").first.click()
        call = page.locator("#operations-AudienceService-ApplySegments")
        await call.locator(".opblock-summary-control").click()
        await call.get_by_role("button", name="Execute").click()
        answer = call.locator(".live-responses-table tbody .response-col_description")
        await expect(answer.first).to_contain_text('"users_in_request"')
        assert complaints == []
        assert [*found, *await serious(page)] == []
    finally:
        await page.close()
        async with service.cluster() as cluster:
            await forget_users(cluster)


async def serious(page: Page) -> list[tuple[str, object]]:
    """What keeps people out, and where. Colours that still change are waited for."""
    await page.evaluate(TRANSITIONS_END)
    results = await Axe().run(page)
    assert results.response["passes"]
    return [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in results.response["violations"]
        if violation["impact"] in SERIOUS
    ]
