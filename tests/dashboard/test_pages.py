from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.dashboard.sample import SampleSite, mac
from tests.dashboard.serving import NOW, Running

PAGES = (
    "/",
    "/sites/quarry",
    f"/sites/quarry/miners/{mac(0)}",
    "/recommendations",
    "/sites/quarry/recommendations/rec-0",
    "/ledger",
    "/audit",
    "/api/docs",
)


@pytest.fixture
async def filled(running: Running, site: SampleSite) -> SampleSite:
    envelopes = [
        *site.day(NOW, hours=2),
        site.envelope(site.recommendation(0, NOW)),
        site.envelope(site.act(0, NOW)),
    ]
    assert (await running.deliver(envelopes)).status_code == 200
    return site


async def page(running: Running, path: str) -> str:
    async with running.signed_in() as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def row(html: str, miner_id: str) -> str:
    found = re.search(rf'<tr data-find="{miner_id} .*?</tr>', html, re.DOTALL)
    assert found is not None
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there(running: Running, filled: SampleSite, path: str) -> None:
    assert "hashmargin" in await page(running, path)


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_carries_the_security_headers(
    running: Running, filled: SampleSite, path: str
) -> None:
    async with running.signed_in() as client:
        answer = await client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_reaches_for_another_host_or_holds_inline_code(
    running: Running, filled: SampleSite, path: str
) -> None:
    html = await page(running, path)
    assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", html)


async def test_a_fresh_dashboard_says_what_to_do(running: Running) -> None:
    assert "has not reported yet" in await page(running, "/")
    assert "Waiting for the first report" in await page(running, "/sites/quarry")


async def test_an_unreachable_miner_shows_its_reason_and_no_figure(
    running: Running, filled: SampleSite
) -> None:
    text = row(await page(running, "/sites/quarry"), mac(5))
    assert "connection refused on port 4028" in text
    assert "47 min ago" in text
    assert "$" not in text
    assert " W" not in text


async def test_an_estimated_power_is_marked_and_a_measured_one_is_not(
    running: Running, filled: SampleSite
) -> None:
    html = await page(running, "/sites/quarry")
    assert re.search(r"~ [\d,]+ W", row(html, mac(0)))
    assert "~" not in row(html, mac(1))


async def test_unknown_power_is_a_dash_never_zero(running: Running, filled: SampleSite) -> None:
    text = row(await page(running, "/sites/quarry"), mac(4))
    assert " \N{EN DASH} \N{EN DASH} " in text
    assert " 0 W" not in text


async def test_a_silent_site_is_marked_and_no_longer_counted(running: Running, filled: SampleSite) -> None:
    running.clock.advance(timedelta(hours=1).total_seconds())
    fleet, site = await page(running, "/"), await page(running, "/sites/quarry")
    assert "0 of 2 sites heard" in fleet
    assert ">stale<" in fleet
    assert "Nothing current from this site" in site


async def test_a_site_on_its_fallback_model_says_so(running: Running, site: SampleSite) -> None:
    summary = site.summary(NOW, model="profile curves: no bundle configured", model_is_fallback=True)
    await running.deliver([site.envelope(summary)])
    assert "Fallback model" in await page(running, "/")
    assert "profile curves: no bundle configured" in await page(running, "/sites/quarry")


async def test_drift_that_two_sites_see_is_said_once_for_all(running: Running, site: SampleSite) -> None:
    other, key = SampleSite("delta"), "drift:antminer-s19.air:intake_temp_c"
    for one in (site, other):
        await running.deliver(
            [one.envelope(one.summary(NOW)), one.envelope(one.alert(NOW, key))], one.site_id
        )
    fleet = await page(running, "/")
    assert "The models have aged" in fleet
    assert "antminer-s19.air intake_temp_c" in fleet
    assert "at delta, quarry" in fleet


async def test_drift_of_one_site_is_that_sites_alert_alone(running: Running, site: SampleSite) -> None:
    await running.deliver([site.envelope(site.summary(NOW)), site.envelope(site.alert(NOW, "drift:a:b"))])
    assert "The models have aged" not in await page(running, "/")


async def test_what_a_site_delivers_is_shown_as_text_never_as_markup(
    running: Running, site: SampleSite
) -> None:
    nasty = "<script>alert(1)</script>\"'><img src=x>"
    lines = [site.line(0, NOW, why=nasty, model=nasty, tags=[nasty]), site.line(1, NOW, current=None)]
    envelopes = [
        site.envelope(site.summary(NOW, lines, site_name=nasty, model=nasty)),
        site.envelope(site.recommendation(0, NOW, model=nasty)),
        site.envelope(site.alert(NOW, text=nasty)),
        site.envelope(site.act(0, NOW, sent=nasty, outcome=nasty)),
    ]
    await running.deliver(envelopes)
    for path in PAGES:
        html = await page(running, path)
        assert "<script>alert" not in html
        assert "<img src=x" not in html


@pytest.mark.parametrize(
    "path", ["/sites/none", "/sites/quarry/recommendations/none", "/nothing", "/live/sites/none"]
)
async def test_what_is_not_there_is_a_plain_404(running: Running, path: str) -> None:
    async with running.signed_in() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert "Not found" in answer.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_fragment_is_sent_again_only_when_something_changed(
    running: Running, filled: SampleSite, path: str
) -> None:
    live = "/live" + path
    async with running.signed_in() as client:
        first = await client.get(live)
        again = await client.get(live, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code) == (200, 304)
        await running.deliver([filled.envelope(filled.alert(NOW, key="new"))])
        running.clock.advance(1)
        await running.deliver([filled.envelope(filled.alert(NOW, key="newer"))])
        assert (await client.get(live, headers={"If-None-Match": first.headers["etag"]})).status_code == 200


async def test_a_fragment_without_a_session_is_refused_not_redirected(running: Running) -> None:
    async with running.client() as client:
        assert (await client.get("/live/")).status_code == 401


async def test_the_ledger_tells_expected_sent_seen_and_outcome(running: Running, filled: SampleSite) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", await page(running, "/ledger")))
    assert "$2.05 $1.84 to $2.28" in text
    assert "adjust_power_limit" in text
    assert "$2.13 inside" in text
    assert "telemetry shows the new setting for 3 readings" in text


async def test_a_recommendation_page_tells_the_whole_why(running: Running, filled: SampleSite) -> None:
    html = await page(running, "/sites/quarry/recommendations/rec-0")
    for words in (
        "Power costs more than the last 15 % of hashrate earn",
        "site override: at least 2,600 W",
        "restarts cost 9 min of hashing",
        "bundle 2026-07-04",
        "0.0841",
        "80 % interval and what was seen",
    ):
        assert words in html


async def test_what_was_approved_and_not_sent_says_why(running: Running, filled: SampleSite) -> None:
    words = "not sent: the miner is at 2,500 W now"
    late = filled.recommendation(0, NOW, status="superseded", outcome=words)
    assert (await running.deliver([filled.envelope(late)])).status_code == 200
    assert "Not sent: the miner is at 2,500 W now." in await page(
        running, "/sites/quarry/recommendations/rec-0"
    )


async def test_the_api_describes_itself_to_who_is_signed_in_only(running: Running) -> None:
    async with running.client() as client:
        assert (await client.get("/api/openapi.json")).status_code == 303
    async with running.signed_in() as client:
        schema = (await client.get("/api/openapi.json")).json()
    site = "/api/v1/sites/{site_id}"
    assert set(schema["paths"]) == {f"{site}/records", f"{site}/decisions", f"{site}/sources/{{name}}"}


async def test_a_site_that_reports_rarely_is_given_longer(running: Running, site: SampleSite) -> None:
    hourly = [site.envelope(site.summary(NOW - timedelta(hours=hours))) for hours in (1, 0)]
    await running.deliver(hourly)
    running.clock.advance(timedelta(hours=2).total_seconds())
    assert "1 of 2 sites heard" in await page(running, "/")
    running.clock.advance(timedelta(hours=1, minutes=1).total_seconds())
    assert "0 of 2 sites heard" in await page(running, "/")


@pytest.mark.parametrize(
    ("kind", "then", "whom"),
    [
        ("coin_switch", "BCH at stratum+tcp://bch.pool.example:3333", "12 miners"),
        ("pool_switch", "stratum+tcp://b.pool.example:3333", "6 miners"),
        ("maintenance", "repaired: 105.2 TH/s at 3300 W", mac(2)),
    ],
)
async def test_advice_says_what_a_person_does_and_that_nothing_is_sent(
    running: Running, kind: str, then: str, whom: str
) -> None:
    site = SampleSite(miners=12)
    envelopes = [*site.day(NOW, hours=1), site.envelope(site.advice(kind, NOW))]
    assert (await running.deliver(envelopes)).status_code == 200
    listed = await page(running, "/recommendations")
    assert then in listed
    assert "for a person" in listed
    assert f'<span class="badge plain">{kind.replace("_", " ")}</span>' in listed
    whole = await page(running, f"/sites/quarry/recommendations/rec-{kind}")
    assert then in whole
    assert whom in whole
    assert "Nothing is sent to a miner" in whole
    assert ("hashmargin pools set" in whole) == (kind != "maintenance")
    assert "leave it as it is" in whole
    assert "reseat the cables of board 2" in whole
    assert "3,200 W" not in whole


async def test_a_change_of_setting_does_not_claim_that_nothing_is_sent(
    running: Running, filled: SampleSite
) -> None:
    whole = await page(running, "/sites/quarry/recommendations/rec-0")
    assert "Nothing is sent to a miner" not in whole
    assert "for a person" not in await page(running, "/recommendations")


async def test_the_page_of_a_miner_says_what_is_known_of_it(running: Running, filled: SampleSite) -> None:
    html = await page(running, f"/sites/quarry/miners/{mac(0)}")
    assert "draws 3.1% more (known to 0.4%) than its model" in html
    assert mac(0) in html and "Changes" in html
    assert 'href="/sites/quarry/miners/' in await page(running, "/sites/quarry")
    async with running.signed_in() as client:
        assert (await client.get("/sites/quarry/miners/nobody")).status_code == 404
