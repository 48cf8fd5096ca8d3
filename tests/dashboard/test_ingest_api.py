from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select

from agent.records import Batch, BatchReply, Envelope
from dashboard.api import MAX_BODY_BYTES, MAX_INFLATED_BYTES
from dashboard.schema import AlertRow, MinerRow, RecommendationRow, Site, StoredRecord, SummaryRow
from tests.dashboard.sample import SampleSite, mac
from tests.dashboard.serving import NOW, Running

PATH = "/api/v1/sites/quarry/records"


def stored(running: Running) -> int:
    with running.database.read() as session:
        return session.scalar(select(func.count()).select_from(StoredRecord)) or 0


async def post(running: Running, content: bytes, **headers: str) -> httpx.Response:
    merged = {"Content-Type": "application/json"} | running.bearer() | headers
    async with running.client() as client:
        return await client.post(PATH, content=content, headers=merged)


def code(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return str(error["code"])


async def test_a_batch_of_every_kind_round_trips(running: Running, site: SampleSite) -> None:
    envelopes = [
        site.envelope(site.summary(NOW)),
        site.envelope(site.recommendation(0, NOW)),
        site.envelope(site.act(0, NOW)),
        site.envelope(site.alert(NOW)),
    ]
    answer = await post(running, Batch(records=envelopes).model_dump_json().encode())
    assert answer.status_code == 200
    reply = BatchReply.model_validate_json(answer.content)
    assert (reply.acknowledged_seq, reply.stored, reply.duplicates) == (4, 4, 0)
    with running.database.read() as session:
        kept = session.get(RecommendationRow, ("quarry", "rec-0"))
        assert kept is not None
        assert type(site.recommendation(0, NOW)).model_validate(kept.body) == site.recommendation(0, NOW)


async def test_a_gzip_body_is_taken(running: Running, site: SampleSite) -> None:
    raw = Batch(records=[site.envelope(site.summary(NOW))]).model_dump_json().encode()
    answer = await post(running, gzip.compress(raw, mtime=0), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 200


async def test_sending_a_batch_again_stores_nothing_twice(running: Running, site: SampleSite) -> None:
    envelopes = [site.envelope(site.summary(NOW)), site.envelope(site.alert(NOW))]
    await running.deliver(envelopes)
    reply = BatchReply.model_validate((await running.deliver(envelopes)).json())
    assert (reply.stored, reply.duplicates, stored(running)) == (0, 2, 2)


async def test_a_key_that_stands_twice_in_one_batch_is_stored_once(
    running: Running, site: SampleSite
) -> None:
    one = site.envelope(site.alert(NOW), key="same")
    two = site.envelope(site.alert(NOW), key="same")
    reply = BatchReply.model_validate((await running.deliver([one, two])).json())
    assert (reply.stored, reply.duplicates, reply.acknowledged_seq) == (1, 1, 2)


async def test_the_same_key_of_another_kind_or_site_is_another_record(running: Running) -> None:
    quarry, delta = SampleSite(miners=1), SampleSite("delta", miners=1)
    batch = [quarry.envelope(quarry.alert(NOW), "k"), quarry.envelope(quarry.summary(NOW), "k")]
    await running.deliver(batch)
    reply = await running.deliver([delta.envelope(delta.alert(NOW), "k")], "delta")
    assert reply.json()["stored"] == 1
    assert stored(running) == 3


async def test_an_older_version_that_comes_late_does_not_overwrite_a_newer(
    running: Running, site: SampleSite
) -> None:
    first = site.envelope(site.recommendation(0, NOW))
    second = site.envelope(site.recommendation(0, NOW, status="confirmed"))
    await running.deliver([second])
    reply = await running.deliver([first])
    assert reply.json()["stored"] == 1
    with running.database.read() as session:
        row = session.get(RecommendationRow, ("quarry", "rec-0"))
        assert row is not None
        assert (row.status, row.seq) == ("confirmed", second.seq)


async def test_a_late_summary_joins_the_history_but_not_the_present(
    running: Running, site: SampleSite
) -> None:
    late = site.envelope(site.summary(NOW - timedelta(minutes=5), site_name="Old name"))
    now = site.envelope(site.summary(NOW))
    await running.deliver([now])
    await running.deliver([late])
    with running.database.read() as session:
        row = session.get(Site, "quarry")
        assert row is not None
        assert row.name == "Quarry North"
        assert session.scalar(select(func.count()).select_from(SummaryRow)) == 2
        latest = session.get(SummaryRow, row.summary_id)
        assert latest is not None
        assert latest.at == NOW


async def test_a_site_with_a_new_store_that_counts_from_one_again_is_heard(running: Running) -> None:
    old, new = SampleSite(miners=2), SampleSite(miners=3)
    for minute in range(5):
        await running.deliver([old.envelope(old.summary(NOW + timedelta(minutes=minute)))])
    await running.deliver([new.envelope(new.summary(NOW + timedelta(minutes=9)), key="after-the-crash")])
    with running.database.read() as session:
        assert session.scalar(select(func.count()).select_from(MinerRow)) == 3


async def test_a_miner_that_left_the_site_leaves_the_table(running: Running, site: SampleSite) -> None:
    await running.deliver([site.envelope(site.summary(NOW))])
    later = NOW + timedelta(minutes=1)
    await running.deliver([site.envelope(site.summary(later, [site.line(i, later) for i in range(3)]))])
    with running.database.read() as session:
        assert set(session.scalars(select(MinerRow.miner_id))) == {mac(0), mac(1), mac(2)}


async def test_a_cleared_alert_is_no_longer_open(running: Running, site: SampleSite) -> None:
    raised = site.envelope(site.alert(NOW))
    cleared = site.envelope(site.alert(NOW + timedelta(minutes=1), cleared=True))
    await running.deliver([cleared, raised])
    with running.database.read() as session:
        row = session.get(AlertRow, ("quarry", "miner-away"))
        assert row is not None
        assert row.cleared


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic cXVhcnJ5Og==", "Bearer"])
async def test_without_a_known_token_nothing_is_taken(
    running: Running, site: SampleSite, header: str | None
) -> None:
    body = Batch(records=[site.envelope(site.alert(NOW))]).model_dump_json()
    headers = {"Content-Type": "application/json"} | ({"Authorization": header} if header else {})
    async with running.client() as client:
        answer = await client.post(PATH, content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert stored(running) == 0


async def test_the_token_of_another_site_is_forbidden(running: Running, site: SampleSite) -> None:
    body = Batch(records=[site.envelope(site.alert(NOW))]).model_dump_json().encode()
    answer = await post(running, body, **running.bearer("delta"))
    assert (answer.status_code, code(answer)) == (403, "wrong_site")
    assert stored(running) == 0


async def test_a_body_that_speaks_of_another_site_is_refused(running: Running) -> None:
    other = SampleSite("delta", miners=1)
    answer = await running.deliver([other.envelope(other.alert(NOW))])
    assert (answer.status_code, code(answer)) == (422, "wrong_site")


async def test_one_bad_record_keeps_the_whole_batch_out(running: Running, site: SampleSite) -> None:
    good, bad = site.envelope(site.alert(NOW)), site.envelope(site.summary(NOW))
    broken = bad.model_copy(update={"body": bad.body | {"hashrate_ths": "much"}})
    answer = await running.deliver([good, broken])
    assert (answer.status_code, code(answer)) == (422, "invalid_record")
    assert "records.1" in answer.json()["error"]["message"]
    assert stored(running) == 0


def _altered(envelope: Envelope, **body: object) -> Envelope:
    return envelope.model_copy(update={"body": envelope.body | body})


@pytest.mark.parametrize(
    "body",
    [
        {"cycle": 2**70},
        {"miners_total": -(2**70)},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"at": "9999-12-31T23:59:59-12:00"},
        {"at": "2026-07-10T14:00:00"},
        {"site_name": "nul \x00 inside"},
        {"site_name": "x" * 10, "miners": [{"miner_id": "a"}]},
        {"hashrate_ths": None},
    ],
)
async def test_values_that_no_database_or_page_can_hold_are_refused_not_stumbled_over(
    running: Running, site: SampleSite, body: dict[str, object]
) -> None:
    answer = await running.deliver([_altered(site.envelope(site.summary(NOW)), **body)])
    assert answer.status_code == 422
    assert stored(running) == 0


async def test_a_miner_that_stands_twice_in_a_summary_is_refused(running: Running, site: SampleSite) -> None:
    twice = site.summary(NOW, [site.line(0, NOW), site.line(0, NOW)])
    assert (await running.deliver([site.envelope(twice)])).status_code == 422


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"records": []}', b'{"records": [{"seq": 0}]}', b"\xff\xfe", b"[" * 5000]
)
async def test_a_body_that_is_no_batch_is_refused(running: Running, content: bytes) -> None:
    answer = await post(running, content)
    assert (answer.status_code, code(answer)) == (422, "invalid_batch")


async def test_unknown_keys_of_a_newer_agent_are_ignored(running: Running, site: SampleSite) -> None:
    raw = json.loads(Batch(records=[site.envelope(site.alert(NOW))]).model_dump_json())
    raw["records"][0]["body"]["colour"] = "red"
    raw["records"][0]["shape"] = raw["sent_by"] = "a newer agent"
    assert (await post(running, json.dumps(raw).encode())).status_code == 200


async def test_an_oversized_body_is_refused_by_its_stated_length(running: Running) -> None:
    answer = await post(running, b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, code(answer)) == (413, "too_large")


async def test_an_oversized_body_of_unstated_length_is_refused_on_the_way(running: Running) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b" " * (1024 * 1024)

    async with running.client() as client:
        headers = running.bearer() | {"Content-Type": "application/json"}
        answer = await client.post(PATH, content=drip(), headers=headers)
    assert (answer.status_code, code(answer)) == (413, "too_large")


async def test_a_body_that_unpacks_beyond_all_measure_is_refused(running: Running) -> None:
    bomb = gzip.compress(b" " * (MAX_INFLATED_BYTES + 1), mtime=0)
    answer = await post(running, bomb, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, code(answer)) == (413, "too_large")


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b'{"records": []}', mtime=0)[:-6]])
async def test_a_damaged_gzip_body_is_refused(running: Running, content: bytes) -> None:
    answer = await post(running, content, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, code(answer)) == (422, "invalid_batch")


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, {"Content-Type": ""}, {"Content-Encoding": "br"}]
)
async def test_other_media_are_refused(running: Running, headers: dict[str, str]) -> None:
    answer = await post(running, b"{}", **headers)
    assert (answer.status_code, code(answer)) == (415, "unsupported_media")


async def test_an_unknown_path_of_the_api_answers_in_its_own_form(running: Running) -> None:
    async with running.client() as client:
        answer = await client.get("/api/v1/nothing")
    assert (answer.status_code, code(answer)) == (404, "not_found")


async def test_health_tells_alive_and_ready(running: Running) -> None:
    async with running.client() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).status_code == 200


async def test_a_record_kept_for_ever_is_kept_without_the_miner_lines(
    running: Running, site: SampleSite
) -> None:
    await running.deliver([site.envelope(site.summary(NOW))])
    with running.database.read() as session:
        row = session.scalars(select(StoredRecord)).one()
        assert row.body["miners"] == []
        assert row.body["hashrate_ths"] > 0


async def test_the_same_batch_sent_many_times_at_once_is_stored_once(
    running: Running, site: SampleSite
) -> None:
    envelopes = [site.envelope(site.alert(NOW, key=f"a{i}")) for i in range(20)]
    answers = await asyncio.gather(*(running.deliver(envelopes) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert sum(answer.json()["stored"] for answer in answers) == stored(running) == 20
