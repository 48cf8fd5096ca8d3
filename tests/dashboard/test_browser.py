"""The pages in a real Chromium, as a person uses them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from agent.records import Decisions
from tests.dashboard.sample import SampleSite, mac
from tests.dashboard.serving import NOW, PASSWORD, Running

CHROMIUM = Path(os.environ.get("HASHMARGIN_CHROMIUM", "/usr/bin/chromium"))
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATHS = (
    "/",
    "/sites/quarry",
    "/recommendations",
    "/sites/quarry/recommendations/rec-1",
    "/ledger",
    "/audit",
    "/api/docs",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: apt-get install chromium"),
]

expect.set_options(timeout=10_000)


class Person:
    """Somebody at a browser, with what its console complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def sign_in(self, path: str = "/") -> Page:
        await self.page.goto(self.url + path)
        await self.page.get_by_label("Name").fill("maria")
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(self.url + path)
        return self.page


@pytest_asyncio.fixture(loop_scope="module")
async def filled(running: Running) -> SampleSite:
    site = SampleSite(miners=12)
    envelopes = site.day(NOW, hours=4)
    envelopes += [site.envelope(site.recommendation(i, NOW)) for i in (0, 3, 6, 9)]
    envelopes.append(site.envelope(site.recommendation(1, NOW, status="confirmed")))
    envelopes.append(site.envelope(site.act(1, NOW)))
    envelopes.append(site.envelope(site.alert(NOW)))
    assert (await running.deliver(envelopes)).status_code == 200
    return site


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def person(running: Running, browser: Browser) -> AsyncIterator[Person]:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = await context.new_page()
        page.set_default_timeout(10_000)
        yield Person(page, running.url)
    finally:
        await context.close()


async def test_a_person_signs_in_sees_miners_approves_and_the_site_confirms(
    running: Running, filled: SampleSite, person: Person
) -> None:
    page = await person.sign_in()
    await page.get_by_role("link", name="Quarry North").click()
    rows = page.locator("#miners tr")
    await expect(rows).to_have_count(12)
    await expect(rows.nth(5)).to_contain_text("connection refused on port 4028")
    await page.get_by_role("button", name=f"Approve 2,760 W for {mac(0)}").click()
    await expect(page.get_by_role("status").filter(has_text="1 recommendation approved")).to_be_visible()
    await expect(page.get_by_role("button", name=f"for {mac(0)}")).to_have_count(0)

    async with running.client() as client:
        answer = await client.get("/api/v1/sites/quarry/decisions", headers=running.bearer())
    assert [d.recommendation_id for d in Decisions.model_validate(answer.json()).decisions] == ["rec-0"]

    await page.goto(f"{person.url}/sites/quarry/recommendations/rec-0")
    await expect(page.locator("#head")).to_contain_text("waiting for site")
    done = filled.recommendation(0, NOW, status="confirmed")
    running.clock.advance(30)
    await running.deliver([filled.envelope(done), filled.envelope(filled.act(0, NOW))])
    await expect(page.locator("#head")).to_contain_text("Confirmed")
    await expect(page.locator("#acts")).to_contain_text("telemetry shows the new setting for 3 readings")
    assert person.complaints == []


async def test_several_are_chosen_and_rejected_with_a_note(
    running: Running, filled: SampleSite, person: Person
) -> None:
    page = await person.sign_in("/recommendations")
    reject = page.get_by_role("button", name="Reject chosen")
    await expect(reject).to_be_disabled()
    await page.get_by_label("Choose all").check()
    await page.locator("#recs [name=item]").first.uncheck()
    await page.get_by_label("Note").fill("not before the maintenance")
    await reject.click()
    await expect(page.locator("#notice")).to_contain_text("3 recommendations rejected")
    await expect(page.locator("#recs .rec")).to_have_count(1)
    assert person.complaints == []


async def test_new_figures_appear_without_reloading_and_ticks_stay(
    running: Running, filled: SampleSite, person: Person
) -> None:
    page = await person.sign_in("/recommendations")
    box = page.locator("#recs [name=item]").nth(1)
    await box.check()
    chosen = await box.get_attribute("value")
    running.clock.advance(30)
    await running.deliver([filled.envelope(filled.recommendation(2, NOW))])
    await expect(page.locator("#recs .rec")).to_have_count(5)
    await expect(page.locator(f"#recs [name=item][value='{chosen}']")).to_be_checked()
    await expect(page.locator("#open-total")).to_have_text("5")
    assert person.complaints == []


async def test_miners_are_filtered_searched_and_sorted(
    filled: SampleSite, running: Running, person: Person
) -> None:
    page = await person.sign_in("/sites/quarry")
    shown = page.locator("#miners tr:visible")
    await page.get_by_role("button", name="Unreachable").click()
    await expect(shown).to_have_count(2)
    await page.get_by_role("button", name=re.compile("^All")).click()
    await page.get_by_label("Find a miner").fill("s21 hall-a")
    await expect(shown).to_have_count(1)
    await page.get_by_label("Find a miner").fill("")
    await page.get_by_role("button", name="TH/s").click()
    rates = await page.locator("#miners td[data-label='TH/s']").evaluate_all(
        "all => all.map(e => Number(e.dataset.v))"
    )
    assert rates == sorted(rates, reverse=True)
    assert person.complaints == []


async def test_a_recommendation_runs_out_before_the_persons_eyes(
    running: Running, filled: SampleSite, person: Person
) -> None:
    running.clock.advance(timedelta(minutes=44, seconds=57).total_seconds())
    page = await person.sign_in("/recommendations")
    first = page.locator("#recs .rec").first
    await expect(first.get_by_role("button", name="Approve")).to_be_enabled()
    await expect(first.get_by_role("button", name="Approve")).to_be_disabled()
    await expect(first).to_contain_text("expired")


async def test_it_works_with_the_keyboard_alone(running: Running, filled: SampleSite, person: Person) -> None:
    page = await person.sign_in("/sites/quarry/recommendations/rec-3")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.get_by_label("Note").focus()
    await page.keyboard.type("by hand")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Approve")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#decide")).to_contain_text("Approved by maria")
    await expect(page.locator("#decide")).to_contain_text("by hand")


async def test_no_page_overflows_a_phone_or_complains(
    running: Running, filled: SampleSite, person: Person
) -> None:
    await person.page.set_viewport_size({"width": 390, "height": 844})
    page = await person.sign_in()
    for path in PATHS:
        await page.goto(person.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert person.complaints == []


async def test_advice_is_read_and_approved_and_its_approval_is_recorded(
    running: Running, filled: SampleSite, person: Person
) -> None:
    advice = [filled.envelope(filled.advice(kind, NOW)) for kind in ("coin_switch", "maintenance")]
    assert (await running.deliver(advice)).status_code == 200
    page = await person.sign_in("/recommendations")
    row = page.locator("#recs .rec").filter(has_text="repaired: 105.2 TH/s")
    await expect(row).to_contain_text("maintenance")
    await expect(row).to_contain_text("for a person")
    await page.goto(f"{person.url}/sites/quarry/recommendations/rec-maintenance")
    await expect(page.locator("#decide")).to_contain_text("Nothing is sent to a miner")
    await expect(page.locator("#why")).to_contain_text("Steps for a person")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator("#decide")).to_contain_text("Approved by maria")
    async with running.client() as client:
        answer = await client.get("/api/v1/sites/quarry/decisions", headers=running.bearer())
    assert [d.recommendation_id for d in Decisions.model_validate(answer.json()).decisions] == [
        "rec-maintenance"
    ]
    await page.goto(f"{person.url}/sites/quarry/recommendations/rec-coin_switch")
    await expect(page.locator("#head")).to_contain_text("12 miners")
    assert person.complaints == []
