from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from agent.records import Decisions
from dashboard.schema import AuditRow
from tests.dashboard.sample import SampleSite
from tests.dashboard.serving import NOW, Running, csrf

PAGE = "/sites/quarry/recommendations/rec-0"


async def decisions(running: Running, after: int = 0, tag: str | None = None) -> httpx.Response:
    headers = running.bearer() | ({"If-None-Match": tag} if tag else {})
    async with running.client() as client:
        return await client.get(f"/api/v1/sites/quarry/decisions?after={after}", headers=headers)


async def decide(running: Running, **fields: str | list[str]) -> httpx.Response:
    """Decide as a person does: open the page, send its form, land on the page again."""
    async with running.signed_in() as client:
        token = csrf((await client.get("/recommendations")).text)
        form = {"csrf": token, "back": "/recommendations"} | fields
        answer = await client.post("/decide", data=form)
        assert answer.status_code == 303, answer.text
        return await client.get(answer.headers["location"])


@pytest.fixture
async def proposed(running: Running, site: SampleSite) -> SampleSite:
    envelopes = [site.envelope(site.summary(NOW))]
    envelopes += [site.envelope(site.recommendation(i, NOW)) for i in range(3)]
    assert (await running.deliver(envelopes)).status_code == 200
    return site


async def test_what_a_person_approves_reaches_the_site(running: Running, proposed: SampleSite) -> None:
    page = await decide(running, verdict="approved", item="quarry/rec-0", note="looks right")
    assert "1 recommendation approved" in page.text
    found = Decisions.model_validate_json((await decisions(running)).content).decisions
    assert [(d.seq, d.recommendation_id, d.verdict, d.by, d.at, d.note) for d in found] == [
        (1, "rec-0", "approved", "maria", NOW, "looks right")
    ]


async def test_several_are_decided_together_and_numbered_in_order(
    running: Running, proposed: SampleSite
) -> None:
    await decide(running, verdict="rejected", item=["quarry/rec-0", "quarry/rec-2"])
    found = Decisions.model_validate_json((await decisions(running)).content).decisions
    assert [(d.seq, d.recommendation_id, d.verdict) for d in found] == [
        (1, "rec-0", "rejected"),
        (2, "rec-2", "rejected"),
    ]


async def test_the_button_of_one_row_leaves_ticked_rows_alone(running: Running, proposed: SampleSite) -> None:
    await decide(running, approve="quarry/rec-1", item=["quarry/rec-0", "quarry/rec-2"])
    found = Decisions.model_validate_json((await decisions(running)).content).decisions
    assert [d.recommendation_id for d in found] == ["rec-1"]


async def test_a_site_gets_only_what_it_does_not_have(running: Running, proposed: SampleSite) -> None:
    await decide(running, verdict="approved", item=["quarry/rec-0", "quarry/rec-1"])
    found = Decisions.model_validate_json((await decisions(running, after=1)).content).decisions
    assert [d.seq for d in found] == [2]


async def test_nothing_new_is_answered_without_a_body(running: Running, proposed: SampleSite) -> None:
    first = await decisions(running)
    again = await decisions(running, tag=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    await decide(running, verdict="approved", item="quarry/rec-0")
    assert (await decisions(running, tag=first.headers["ETag"])).status_code == 200


async def test_another_site_sees_none_of_it(running: Running, proposed: SampleSite) -> None:
    await decide(running, verdict="approved", item="quarry/rec-0")
    async with running.client() as client:
        own = await client.get("/api/v1/sites/delta/decisions", headers=running.bearer("delta"))
        others = await client.get("/api/v1/sites/quarry/decisions", headers=running.bearer("delta"))
    assert own.json() == {"decisions": []}
    assert others.status_code == 403


@pytest.mark.parametrize("after", ["-1", "x", str(2**64)])
async def test_a_senseless_after_is_refused(running: Running, after: str) -> None:
    async with running.client() as client:
        answer = await client.get(f"/api/v1/sites/quarry/decisions?after={after}", headers=running.bearer())
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


async def test_the_second_decision_is_refused_and_the_first_stands(
    running: Running, proposed: SampleSite
) -> None:
    await decide(running, verdict="approved", item="quarry/rec-0")
    page = await decide(running, verdict="rejected", item="quarry/rec-0")
    assert "maria has approved this already" in page.text
    found = Decisions.model_validate_json((await decisions(running)).content).decisions
    assert [d.verdict for d in found] == ["approved"]


async def test_an_expired_one_cannot_be_approved(running: Running, proposed: SampleSite) -> None:
    running.clock.advance(timedelta(minutes=45).total_seconds())
    page = await decide(running, verdict="approved", item="quarry/rec-0")
    assert "it has expired" in page.text
    assert (await decisions(running)).json() == {"decisions": []}


@pytest.mark.parametrize("status", ["superseded", "rejected", "applying", "confirmed", "expired"])
async def test_what_is_no_longer_proposed_cannot_be_approved(
    running: Running, proposed: SampleSite, status: str
) -> None:
    await running.deliver([proposed.envelope(proposed.recommendation(0, NOW, status=status))])
    page = await decide(running, verdict="approved", item="quarry/rec-0")
    assert f"it is {status} and no longer open" in page.text
    assert (await decisions(running)).json() == {"decisions": []}


async def test_one_that_is_refused_does_not_hold_up_the_rest(running: Running, proposed: SampleSite) -> None:
    page = await decide(running, verdict="approved", item=["quarry/none", "quarry/rec-1"])
    assert "1 recommendation approved" in page.text
    assert "there is no recommendation none" in page.text


async def test_every_decision_leaves_an_audit_row(running: Running, proposed: SampleSite) -> None:
    await decide(running, verdict="approved", item="quarry/rec-0", note="go")
    with running.database.read() as session:
        row = session.scalars(select(AuditRow).where(AuditRow.action == "approved")).one()
    assert (row.actor, row.site_id, row.subject) == ("maria", "quarry", "rec-0")
    assert row.detail["note"] == "go"
    assert row.detail["proposed"] == proposed.recommendation(0, NOW).proposed.model_dump()


async def test_a_form_without_its_token_decides_nothing(running: Running, proposed: SampleSite) -> None:
    async with running.signed_in() as client:
        answer = await client.post("/decide", data={"verdict": "approved", "item": "quarry/rec-0"})
        forged = await client.post(
            "/decide", data={"csrf": "0" * 64, "verdict": "approved", "item": "quarry/rec-0"}
        )
    assert (answer.status_code, forged.status_code) == (403, 403)
    assert (await decisions(running)).json() == {"decisions": []}


async def test_the_token_of_another_session_does_not_fit(running: Running, proposed: SampleSite) -> None:
    async with running.signed_in() as one, running.signed_in(anew=True) as two:
        token = csrf((await one.get("/")).text)
        answer = await two.post("/decide", data={"csrf": token, "approve": "quarry/rec-0"})
    assert answer.status_code == 403


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_form_sent_by_another_site_decides_nothing(
    running: Running, proposed: SampleSite, header: dict[str, str]
) -> None:
    async with running.signed_in() as client:
        token = csrf((await client.get("/")).text)
        answer = await client.post("/decide", data={"csrf": token, "approve": "quarry/rec-0"}, headers=header)
    assert answer.status_code == 403


async def test_nobody_decides_without_signing_in(running: Running, proposed: SampleSite) -> None:
    async with running.client() as client:
        answer = await client.post("/decide", data={"approve": "quarry/rec-0"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert (await decisions(running)).json() == {"decisions": []}


async def test_a_site_token_opens_no_page(running: Running) -> None:
    async with running.client() as client:
        answer = await client.get("/", headers=running.bearer())
    assert answer.status_code == 303


async def test_a_decided_one_waits_for_the_site_until_the_site_reports(
    running: Running, proposed: SampleSite
) -> None:
    await decide(running, approve="quarry/rec-0")
    async with running.signed_in() as client:
        assert "waiting for site" in (await client.get(PAGE)).text
        await running.deliver([proposed.envelope(proposed.recommendation(0, NOW, status="confirmed"))])
        page = (await client.get(PAGE)).text
    assert "waiting for site" not in page
    assert "Confirmed" in page


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "x"])
async def test_nobody_is_sent_elsewhere_after_deciding(
    running: Running, proposed: SampleSite, back: str
) -> None:
    async with running.signed_in() as client:
        token = csrf((await client.get("/")).text)
        answer = await client.post("/decide", data={"csrf": token, "approve": "quarry/rec-0", "back": back})
    assert answer.headers["location"] == "/"


async def test_of_many_at_once_exactly_one_decides(running: Running, proposed: SampleSite) -> None:
    async with running.signed_in() as client:
        token = csrf((await client.get("/")).text)
        forms = [{"csrf": token, verdict: "quarry/rec-0"} for verdict in ("approve", "reject") * 5]
        await asyncio.gather(*(client.post("/decide", data=form) for form in forms))
    assert len((await decisions(running)).json()["decisions"]) == 1
