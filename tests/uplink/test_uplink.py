from __future__ import annotations

import asyncio
import random
import socket
import ssl
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from agent.clock import ManualClock
from agent.config import DashboardConfig
from agent.errors import UplinkError
from agent.records import Decision, Envelope
from agent.store import open_store
from agent.uplink import MAX_REFUSED_PER_PUSH, Uplink
from agent.uplink import Outbox as OutboxProtocol
from dashboard.decisions import decide
from dashboard.schema import RecommendationRow, StoredRecord
from tests.dashboard.conftest import host  # noqa: F401 - a fixture
from tests.dashboard.sample import SampleSite
from tests.dashboard.serving import NOW, Host, Running, self_signed

DECISIONS = b'{"decisions": [%b]}'
DECISION = (
    b'{"seq": 5, "recommendation_id": "a", "verdict": "approved", "by": "x", "at": "2026-07-10T14:00:00Z"}'
)
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Outbox:
    """The store's part of the agreement, in memory."""

    def __init__(self, envelopes: list[Envelope]) -> None:
        self.queue = envelopes
        self.refused: dict[int, str] = {}
        self.decisions: list[Decision] = []

    def pending(self, limit: int) -> list[Envelope]:
        return [e for e in self.queue if e.seq not in self.refused][:limit]

    def acknowledge(self, seq: int) -> None:
        self.queue = [e for e in self.queue if e.seq > seq or e.seq in self.refused]

    def quarantine(self, seq: int, reason: str) -> None:
        self.refused[seq] = reason

    def decisions_after(self) -> int:
        return self.decisions[-1].seq if self.decisions else 0

    def store_decisions(self, decisions: list[Decision]) -> None:
        self.decisions += decisions


@pytest.fixture
def running(host: Host, tmp_path: Path) -> Iterator[Running]:  # noqa: F811
    with host.with_database(tmp_path) as running:
        yield running


@pytest.fixture
def site() -> SampleSite:
    return SampleSite(miners=4)


@asynccontextmanager
async def linked(
    url: str, outbox: OutboxProtocol, clock: ManualClock, token: str = "t", deadline_s: float = 10.0
) -> AsyncIterator[Uplink]:
    config = DashboardConfig(url=url, token_file=Path("/nowhere"), deadline_s=deadline_s)
    uplink = Uplink(config, "quarry", token, clock, outbox, random.Random(1))
    try:
        yield uplink
    finally:
        await uplink.close()


@asynccontextmanager
async def peer(answer: Answer) -> AsyncIterator[str]:
    """Something on a socket that is not the dashboard, or not well."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def saying(status: str, body: bytes, *headers: str) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(v.split(b":")[1]) for v in head.split(b"\r\n") if v.lower().startswith(b"content-length")), 0
        )
        await reader.readexactly(length)
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


def stored(running: Running) -> int:
    with running.database.read() as session:
        return session.scalar(select(func.count()).select_from(StoredRecord)) or 0


def alerts(site: SampleSite, count: int) -> list[Envelope]:
    return [site.envelope(site.alert(NOW, key=f"alert-{i}")) for i in range(count)]


async def test_everything_pending_is_stored_and_leaves_the_outbox(running: Running, site: SampleSite) -> None:
    outbox = Outbox([*alerts(site, 700), site.envelope(site.summary(NOW))])
    async with linked(running.url, outbox, running.clock, running.tokens["quarry"]) as uplink:
        result = await uplink.push_once()
    assert (result.stored, result.acknowledged_seq, result.more) == (701, 701, False)
    assert outbox.queue == []
    assert stored(running) == 701


async def test_an_empty_outbox_sends_nothing(site: SampleSite) -> None:
    async with linked("http://127.0.0.1:9", Outbox([]), ManualClock(NOW)) as uplink:
        assert (await uplink.push_once()).stored == 0


async def test_what_was_stored_but_not_acknowledged_is_sent_again_and_kept_once(
    running: Running, site: SampleSite
) -> None:
    envelopes = alerts(site, 5)
    await running.deliver(envelopes)
    outbox = Outbox(envelopes)
    async with linked(running.url, outbox, running.clock, running.tokens["quarry"]) as uplink:
        result = await uplink.push_once()
    assert (result.stored, result.duplicates, outbox.queue, stored(running)) == (0, 5, [], 5)


async def test_a_record_that_the_centre_refuses_is_set_aside_and_the_rest_arrives(
    running: Running, site: SampleSite
) -> None:
    envelopes = alerts(site, 30)
    bad = envelopes[11]
    envelopes[11] = bad.model_copy(update={"body": bad.body | {"severity": "loud"}})
    outbox = Outbox(envelopes)
    async with linked(running.url, outbox, running.clock, running.tokens["quarry"]) as uplink:
        result = await uplink.push_once()
    assert [q.envelope.seq for q in result.quarantined] == [12]
    assert "severity" in result.quarantined[0].reason
    assert outbox.pending(100) == []
    assert "422" in outbox.refused[12]
    assert stored(running) == 29


async def test_a_centre_that_refuses_everything_does_not_empty_the_outbox(
    running: Running, site: SampleSite
) -> None:
    broken = [e.model_copy(update={"body": {}}) for e in alerts(site, 60)]
    outbox = Outbox(broken)
    async with linked(running.url, outbox, running.clock, running.tokens["quarry"]) as uplink:
        with pytest.raises(UplinkError, match="refused 20 records in one push"):
            await uplink.push_once()
    assert len(outbox.pending(100)) == 60 - MAX_REFUSED_PER_PUSH


async def test_a_batch_that_the_centre_finds_too_large_is_split(running: Running) -> None:
    # Each of these packs to some 0.9 MB: four of them fit the dashboard's limit, five do not.
    rng, large = random.Random(3), SampleSite(miners=600)
    texts = ["".join(rng.choices(string.ascii_letters + string.digits + "-_", k=2000)) for _ in range(600)]
    lines = [large.line(i, NOW, why=text) for i, text in enumerate(texts)]
    outbox = Outbox([large.envelope(large.summary(NOW, lines)) for _ in range(5)])
    async with linked(running.url, outbox, running.clock, running.tokens["quarry"], 60.0) as uplink:
        result = await uplink.push_once()
    assert (result.acknowledged_seq, outbox.queue, result.quarantined) == (5, [], ())
    assert stored(running) == 5


async def test_nobody_at_the_address_leaves_all_queued(site: SampleSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outbox = Outbox(alerts(site, 3))
    async with linked(f"http://127.0.0.1:{port}", outbox, ManualClock(NOW)) as uplink:
        with pytest.raises(UplinkError, match="cannot be reached"):
            await uplink.push_once()
    assert len(outbox.queue) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (saying("500 Oops", b"<html>"), "answered 500"),
        (saying("503 Busy", b'{"error": {"code": "unavailable", "message": "later"}}'), "unavailable: later"),
        (saying("401 No", b'{"error": {"code": "bad_token", "message": "unknown"}}'), "bad_token: unknown"),
        (saying("422 No", b"<html>a proxy</html>"), "answered 422"),
        (saying("302 Found", b"", "Location: https://elsewhere.example/"), "redirect"),
        (saying("200 OK", b"garbage"), "not one"),
        (saying("200 OK", b""), "not one"),
        (saying("200 OK", b'{"acknowledged_seq": 99, "stored": 3, "duplicates": 0}'), "acknowledged 99"),
        (saying("200 OK", b'{"acknowledged_seq": 1, "stored": 3, "duplicates": 0}'), "acknowledged 1"),
        (saying("200 OK", b"x" * (5 << 20)), "over 4194304 bytes"),
        (saying("200 OK", b"x", "Content-Encoding: gzip"), "packed"),
    ],
)
async def test_any_other_answer_leaves_all_queued_and_says_why(
    site: SampleSite, answer: Answer, words: str
) -> None:
    outbox = Outbox(alerts(site, 3))
    async with peer(answer) as url, linked(url, outbox, ManualClock(NOW)) as uplink:
        with pytest.raises(UplinkError, match=words):
            await uplink.push_once()
    assert len(outbox.pending(9)) == 3


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()


async def _noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(range(256)) * 40)
    await writer.drain()


@pytest.mark.parametrize(
    ("answer", "words"),
    [(_drip, "did not answer within 0.3 s"), (_hang_up, "cannot be reached"), (_noise, "cannot be reached")],
)
async def test_a_slow_broken_or_senseless_peer_is_an_error_within_the_deadline(
    site: SampleSite, answer: Answer, words: str
) -> None:
    outbox = Outbox(alerts(site, 3))
    async with peer(answer) as url, linked(url, outbox, ManualClock(NOW), deadline_s=0.3) as uplink:
        async with asyncio.timeout(5):
            with pytest.raises(UplinkError, match=words):
                await uplink.push_once()
    assert len(outbox.queue) == 3


async def test_after_a_failure_the_next_try_waits_longer_each_time(site: SampleSite) -> None:
    clock, waits = ManualClock(NOW), []
    outbox = Outbox(alerts(site, 1))
    async with peer(saying("500 Oops", b"")) as url, linked(url, outbox, clock) as uplink:
        for _ in range(5):
            with pytest.raises(UplinkError):
                await uplink.push_once()
            held = await uplink.push_once()
            waits.append(held.postponed_s)
            clock.advance(held.postponed_s)
    for n, wait in enumerate(waits):
        assert 2.0**n <= wait <= 2.0 ** (n + 1)


async def test_one_success_ends_the_back_off(running: Running, site: SampleSite) -> None:
    outbox = Outbox(alerts(site, 1))
    clock = running.clock
    async with linked(running.url, outbox, clock, "wrong") as uplink:
        with pytest.raises(UplinkError):
            await uplink.push_once()
        uplink._client.headers["Authorization"] = f"Bearer {running.tokens['quarry']}"
        clock.advance(2.0)
        assert (await uplink.push_once()).stored == 1
        outbox.queue = alerts(site, 1)
        assert (await uplink.push_once()).postponed_s == 0.0


def approve(running: Running, *ids: str) -> None:
    for identifier in ids:
        decide(
            running.database,
            running.clock,
            running.clock,
            site_id="quarry",
            recommendation_id=identifier,
            verdict="approved",
            by="maria",
            note=None,
        )


async def test_decisions_arrive_once_and_in_order(running: Running, site: SampleSite) -> None:
    outbox = Outbox([site.envelope(site.recommendation(i, NOW)) for i in range(3)])
    async with linked(running.url, outbox, running.clock, running.tokens["quarry"]) as uplink:
        await uplink.push_once()
        assert (await uplink.pull_once()).received == 0
        approve(running, "rec-1", "rec-0")
        assert (await uplink.pull_once()).received == 2
        assert (await uplink.pull_once()).received == 0
        approve(running, "rec-2")
        assert (await uplink.pull_once()).received == 1
    assert [(d.seq, d.recommendation_id) for d in outbox.decisions] == [
        (1, "rec-1"),
        (2, "rec-0"),
        (3, "rec-2"),
    ]
    with running.database.read() as session:
        assert session.scalar(select(func.count()).select_from(RecommendationRow)) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        b"[]",
        b'{"decisions": [{"seq": 1}]}',
        DECISIONS % DECISION.replace(b"approved", b"maybe"),
        DECISIONS % (DECISION + b", " + DECISION),
        DECISIONS % DECISION.replace(b"5", b"0"),
    ],
)
async def test_decisions_that_make_no_sense_are_not_stored(site: SampleSite, body: bytes) -> None:
    outbox = Outbox([])
    async with peer(saying("200 OK", body)) as url, linked(url, outbox, ManualClock(NOW)) as uplink:
        with pytest.raises(UplinkError):
            await uplink.pull_once()
    assert outbox.decisions == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(site: SampleSite, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    outbox = Outbox(alerts(site, 1))
    async with linked(f"https://127.0.0.1:{port}", outbox, ManualClock(NOW)) as uplink:
        with pytest.raises(UplinkError, match="certificate verify failed"):
            await uplink.push_once()
    server.close()
    await server.wait_closed()
    assert len(outbox.queue) == 1


async def test_the_agents_own_store_is_emptied_and_takes_the_decisions(
    running: Running, site: SampleSite, tmp_path: Path
) -> None:
    store, _ = open_store(tmp_path / "agent.sqlite3", "quarry", NOW)
    try:
        store.put_summary(site.summary(NOW))
        store.put_recommendation(site.recommendation(0, NOW))
        store.put_alert(site.alert(NOW))
        async with linked(running.url, store, running.clock, running.tokens["quarry"]) as uplink:
            assert (await uplink.push_once()).stored == 3
            approve(running, "rec-0")
            assert (await uplink.pull_once()).received == 1
        assert store.pending(10) == []
        assert [d.recommendation_id for d in store.new_decisions()] == ["rec-0"]
    finally:
        store.close()
