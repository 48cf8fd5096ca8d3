"""Sources over real sockets: what is fetched, what is refused, and what is left when a feed dies."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.config import SiteConfig
from agent.errors import ConfigError, DataError, SourceError
from agent.money.economics import Economics
from agent.sources.config import Mapping
from agent.sources.entsoe import prices
from agent.sources.fetching import Fetching
from agent.sources.mapping import rows_of
from agent.sources.mempool import PATHS
from agent.sources.table import cache_path, parse_table, read_table, table_of, write_table
from agent.yamlfile import parse_yaml
from tests.economics.web import Page, PriceServer, price_server

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SPOT = "{rows: data, time: start, value: usd_per_mwh, scale: 0.001}"


def site(
    folder: Path, source: str, tariff: str = "", market: str = "hashprice_usd_per_ths_day: 0.05"
) -> SiteConfig:
    fixed = "kind: fixed, price_usd_per_kwh: 0.05"
    return parse_yaml(
        f"site: {{id: s}}\nstate_dir: {folder}\nmarket: {{{market}}}\ntariff: {{{tariff or fixed}}}\n"
        f"miners: [{{address: 127.0.0.1}}]\nsources:\n  - {{{source}}}\n",
        SiteConfig,
    )


def spot(values: list[float], start: datetime = NOW - timedelta(hours=5)) -> Page:
    rows = [
        {"start": (start + timedelta(hours=i)).isoformat(), "usd_per_mwh": v} for i, v in enumerate(values)
    ]
    return Page(json.dumps({"data": rows}).encode())


def spot_site(folder: Path, server: PriceServer, more: str = "", tariff: str = "") -> SiteConfig:
    source = (
        f"name: spot, kind: http_json, url: '{server.url}/spot', columns: {{price_usd_per_kwh: {SPOT}}}{more}"
    )
    return site(folder, source, f"kind: series, source: spot, horizon: real_time{tariff}")


def fetching(config: SiteConfig, clock: ManualClock) -> Fetching:
    return Fetching(config.sources, config.state_dir, clock, random.Random(1))


async def test_prices_of_any_json_reach_the_forecast_with_their_source(tmp_path: Path) -> None:
    async with price_server() as server:
        server.pages["/spot"] = spot([40, 41, 42, 43, 44, 45])
        config, clock = spot_site(tmp_path, server), ManualClock(NOW)
        money, fetch = Economics(config), fetching(config, clock)
        assert np.isnan(money.conditions(NOW).price_usd_per_kwh)
        assert "source spot has no prices yet" in money.forecast(NOW, 1).price_source
        wait_s = await fetch.fetch_due()
        assert 800 < wait_s < 1000 and not fetch.problems
        assert money.refresh() == []
        assert money.conditions(NOW).price_usd_per_kwh == pytest.approx(0.045)
        assert "source spot" in money.forecast(NOW, 1).price_source
        await fetch.close()


async def test_a_dead_feed_leaves_the_last_good_until_it_is_stale(tmp_path: Path) -> None:
    async with price_server() as server:
        server.pages["/spot"] = spot([40, 41, 42, 43, 44, 45])
        config, clock = spot_site(tmp_path, server, tariff=", fallback_usd_per_kwh: 0.2"), ManualClock(NOW)
        fetch = fetching(config, clock)
        await fetch.fetch_due()
        server.pages["/spot"] = Page(b"down", 503)
        waits = []
        for _ in range(4):
            clock.advance(4000.0)
            waits.append(await fetch.fetch_due())
        assert "answers 503" in fetch.problems["spot"]
        assert 15 <= waits[0] <= 30 and waits[0] < waits[1] < waits[2] < waits[3] <= 240
        await fetch.close()
    # A restart without any network has what was fetched before.
    money = Economics(config)
    assert money.conditions(NOW + timedelta(minutes=50)).price_usd_per_kwh == pytest.approx(0.045)
    late = money.forecast(NOW + timedelta(hours=3), 2)
    assert late.price_usd_per_kwh.tolist() == [0.2, 0.2]
    assert "ended 3 h ago" in late.price_source and "fallback of 0.2" in late.price_source


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (Page(b"<html>"), "not JSON"),
        (Page(b"[" * 10_000), "not JSON"),
        (Page(b'{"data": {}}'), "data is not a list"),
        (Page(b'{"rows": []}'), "the answer has no data"),
        (spot([]), "no rows"),
        (spot([40, 1e9]), "outside -5 to 25; check scale"),
        (Page(b'{"data": [{"start": "soon", "usd_per_mwh": 4}]}'), "not an ISO 8601 time"),
        (Page(b'{"data": [{"start": "2026-03-02T12:00Z", "usd_per_mwh": true}]}'), "expected a number"),
        (Page(b'{"data": [{"start": "2027-03-02T12:00Z", "usd_per_mwh": 4}]}'), "more than 10 days ahead"),
        (Page(b"x" * 20_000), "more than 10240 bytes"),
        (Page(b"", 302, headers={"Location": "http://127.0.0.1:1/"}), "answers 302"),
        (Page(b"", 301, headers={"Location": "file:///etc/passwd"}), "answers 301"),
        (Page(b"", 401), "check the token"),
        (Page(b'{"data": [{"start": 1e999, "usd_per_mwh": 4}]}'), "not an ISO 8601 time"),
        (Page(b'{"data": [[[[[4]]]]]}'), "the answer has no start"),
        (
            Page(b'{"data": [{"start": "2026-03-02T12:00Z", "usd_per_mwh": 1' + b"0" * 5000 + b"}]}"),
            "not JSON",
        ),
        (Page(b"{}", headers={"Content-Encoding": "gzip"}), "packs its answer"),
        (Page(b"{}", drip_s=30.0), "did not answer within 2 s"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_named(tmp_path: Path, page: Page, words: str) -> None:
    async with price_server() as server:
        server.pages["/spot"] = spot([40, 41, 42, 43, 44, 45])
        # Short only where waiting is the matter: a busy machine is slow to answer itself.
        deadline_s = 2.0 if page.drip_s else 30.0
        config = spot_site(tmp_path, server, f", max_kib: 10, deadline_s: {deadline_s}")
        clock = ManualClock(NOW)
        fetch = fetching(config, clock)
        await fetch.fetch_due()
        kept = cache_path(tmp_path, "spot").read_bytes()
        server.pages["/spot"] = page
        clock.advance(2000.0)
        await fetch.fetch_due()
        assert words in fetch.problems["spot"]
        assert cache_path(tmp_path, "spot").read_bytes() == kept
        await fetch.close()


async def test_two_prices_for_one_hour_are_refused_and_equal_ones_count_once(tmp_path: Path) -> None:
    rows = [(1000.0, 4.0), (1000.0, 4.0), (4600.0, 5.0)]
    assert table_of(rows, "price_usd_per_kwh", "x").times_s.tolist() == [1000.0, 4600.0]
    with pytest.raises(DataError, match="stands twice with different values"):
        table_of([*rows, (4600.0, 6.0)], "price_usd_per_kwh", "x")


async def test_a_damaged_cache_is_left_aside(tmp_path: Path) -> None:
    path = cache_path(tmp_path, "spot")
    path.parent.mkdir()
    path.write_text('{"times_s": [3, 2], "columns": {}')
    async with price_server() as server:
        config = spot_site(tmp_path, server)
        money = Economics(config)
        assert np.isnan(money.conditions(NOW).price_usd_per_kwh)
        server.pages["/spot"] = spot([40, 41, 42, 43, 44, 45])
        fetch = fetching(config, ManualClock(NOW))
        await fetch.fetch_due()
        money.refresh()
        assert money.conditions(NOW).price_usd_per_kwh == pytest.approx(0.045)
        await fetch.close()


async def test_a_token_goes_to_its_own_address_only_and_never_into_words(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    async with price_server() as server, price_server() as other:
        server.pages["/spot"] = spot([40])
        chart = f"{{rows: prices, time: '0', value: '1', time_format: unix_ms, url: '{other.url}/chart'}}"
        source = (
            f"name: a, kind: http_json, url: '{server.url}/spot', token_file: {secret}, "
            f"token_parameter: key, columns: {{price_usd_per_kwh: {SPOT}, price_usd_per_btc: {chart}}}"
        )
        other.pages["/chart"] = Page(
            json.dumps({"prices": [[(NOW.timestamp() - 6 * 3600) * 1000, 1.0]]}).encode()
        )
        config = site(tmp_path, source)
        fetch = fetching(config, ManualClock(NOW))
        await fetch.fetch_due()
        assert server.asked[0][1] == {"key": ["sesame"]}
        assert other.asked[0][1] == {} and "authorization" not in other.asked[0][2]
        assert "price_usd_per_btc" in fetch.problems["a"] and "sesame" not in fetch.problems["a"]
        await fetch.close()
        secret.chmod(0o644)
        with pytest.raises(ConfigError, match="chmod 600"):
            fetching(config, ManualClock(NOW))


def explorer(server: PriceServer, price: float = 60_000.0) -> None:
    blocks = [int(NOW.timestamp()) - 3600 * h for h in (30, 20, 2)]
    answers = {
        "prices": {"time": blocks[-1], "USD": price},
        # Fees of 0.4 BTC at the last two of three, 9 of long ago.
        "fees": [{"timestamp": t, "avgFees": f} for t, f in zip(blocks, (9e8, 0.4e8, 0.4e8), strict=True)],
        "rewards": [
            {"timestamp": t, "avgHeight": 880_000, "avgRewards": r}
            for t, r in zip(blocks, (12.1e8, 3.525e8, 3.525e8), strict=True)
        ],
        "hashrate": {"currentDifficulty": 1e14, "currentHashrate": 7e20},
        "adjustment": {"difficultyChange": 25.0, "estimatedRetargetDate": (NOW.timestamp() + 7200) * 1000},
    }
    for name, path in PATHS.items():
        server.pages[path] = Page(json.dumps(answers[name]).encode())


async def test_hashprice_from_an_explorer_by_hand(tmp_path: Path) -> None:
    async with price_server() as server:
        explorer(server)
        config = site(tmp_path, f"name: net, kind: mempool, url: '{server.url}'", market="source: net")
        clock = ManualClock(NOW)
        fetch = fetching(config, clock)
        await fetch.fetch_due()
        money = Economics(config)
        # 144 x (3.125 + 0.4) BTC at 60,000 USD over 1e14 x 2^32 / 600 hashes a second.
        expected = 144 * 3.525 * 60_000 / (1e14 * 2**32 / 600 / 1e12)
        forecast = money.forecast(NOW, 4)
        assert forecast.hashprice_usd_per_ths_day[:2].tolist() == pytest.approx([expected] * 2)
        # Difficulty is to rise by a quarter in two hours.
        assert forecast.hashprice_usd_per_ths_day[2:].tolist() == pytest.approx([expected / 1.25] * 2)
        assert "+25.0%" in forecast.hashprice_source
        conditions = money.conditions(NOW)
        assert conditions.price_usd_per_btc == 60_000.0
        assert conditions.fee_share == pytest.approx(0.4 / 3.525)
        # Rows gather; then a price twice as high is taken for a mistake.
        for _ in range(3):
            clock.advance(1200.0)
            await fetch.fetch_due()
        assert not fetch.problems
        explorer(server, price=190_000.0)
        clock.advance(1200.0)
        await fetch.fetch_due()
        assert "price_usd_per_btc jumps to 190000" in fetch.problems["net"]
        money.refresh()
        assert money.conditions(clock.now()).price_usd_per_btc == 60_000.0
        await fetch.close()


@pytest.mark.parametrize("height", [1e300, -1, "far", None, [], {"a": 1}, True])
async def test_an_absurd_height_of_the_chain_is_refused_at_once(tmp_path: Path, height: object) -> None:
    async with price_server() as server:
        explorer(server)
        row = {"timestamp": NOW.timestamp() - 60.0, "avgHeight": height, "avgRewards": 3.525e8}
        server.pages[PATHS["rewards"]] = Page(json.dumps([row]).encode())
        config = site(tmp_path, f"name: net, kind: mempool, url: '{server.url}'", market="source: net")
        fetch = fetching(config, ManualClock(NOW))
        await fetch.fetch_due()
        assert PATHS["rewards"] in fetch.problems["net"]
        await fetch.close()


async def test_an_answer_nobody_thought_of_leaves_the_other_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with price_server() as server:
        server.pages["/spot"] = spot([40, 41, 42, 43, 44, 45])
        config = spot_site(tmp_path, server)

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        fetch = fetching(config, ManualClock(NOW))
        with monkeypatch.context() as patched:
            patched.setattr("agent.sources.fetching.check", broken)
            assert await fetch.fetch_due() >= 15.0
        assert "ZeroDivisionError" in fetch.problems["spot"]
        await fetch.close()


def test_every_form_of_a_mapping() -> None:
    parallel = {"hourly": {"time": ["2026-03-02T00:00", "2026-03-02T01:00"], "price": ["4.5", None]}}
    mapping = Mapping(times="hourly.time", values="hourly.price", timezone="Europe/Berlin", scale=2.0)
    at = datetime(2026, 3, 1, 23, tzinfo=UTC).timestamp()
    assert rows_of(parallel, mapping, 0.0, "x") == [(at, 9.0)]
    assert rows_of({"usd": [{"now": 3}]}, Mapping(value="usd.-1.now"), 7.0, "x") == [(7.0, 3.0)]
    listed = Mapping(rows=".", time="0", value="1", time_format="unix_s")
    assert rows_of([[5, 1], [6, 2]], listed, 0.0, "x") == [(5.0, 1.0), (6.0, 2.0)]
    with pytest.raises(SourceError, match="see time_format"):
        rows_of([[1_700_000_000_000, 1]], listed, 0.0, "x")


def document(periods: str, head: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{head}<Publication_MarketDocument xmlns="urn:iec62325"><TimeSeries>'
        f"{periods}</TimeSeries></Publication_MarketDocument>"
    ).encode()


def period(start: str, end: str, step: str, points: dict[int, float]) -> str:
    rows = "".join(
        f"<Point><position>{p}</position><price.amount>{v}</price.amount></Point>" for p, v in points.items()
    )
    times = f"<timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
    return f"<Period>{times}<resolution>{step}</resolution>{rows}</Period>"


def test_day_ahead_xml_with_hours_quarters_and_positions_left_out() -> None:
    hours = period("2026-03-01T23:00Z", "2026-03-02T01:00Z", "PT60M", {1: 100.0, 2: -20.0})
    quarters = period("2026-03-02T01:00Z", "2026-03-02T02:00Z", "PT15M", {1: 10.0, 3: 50.0})
    table = prices(document(hours + quarters), usd_per_eur=1.1)
    expected = [0.11] * 4 + [-0.022] * 4 + [0.011, 0.011, 0.055, 0.055]
    assert table.columns["price_usd_per_kwh"].tolist() == pytest.approx(expected)
    assert np.diff(table.times_s).tolist() == [900.0] * 11


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (document("", '<!DOCTYPE a [<!ENTITY x "y">]>'), "refused"),
        (document("", '<!DOCTYPE a SYSTEM "http://127.0.0.1/x">'), "refused"),
        (document(""), "holds no prices"),
        (b"<a>" * 100, "nested too deeply"),
        (b"not xml", "not XML"),
        (b"<D><Reason><text>No matching data found</text></Reason></D>", "No matching data found"),
        (document(period("2026-03-01T23:00Z", "2026-03-02T01:00Z", "P1Y", {1: 1.0})), "resolution"),
        (document(period("2026-03-01T23:00Z", "2026-03-02T01:00Z", "PT60M", {9: 1.0})), "positions"),
        (document(period("2026-03-01T23:00Z", "3026-03-02T01:00Z", "PT1M", {1: 1.0})), "positions"),
        (
            document(
                period("2026-03-01T23:00Z", "2026-03-01T23:01Z", "PT1M", {1: 1.0})
                + 3 * period("2026-01-01T00:00Z", "2026-03-20T00:00Z", "PT60M", {1: 1.0})
            ),
            "more than 100000 steps",
        ),
        (document(period("yesterday", "2026-03-02T01:00Z", "PT60M", {1: 1.0})), "not a UTC time"),
        (document(period("2026-03-01T23:00Z", "2026-03-02T01:00Z", "PT60M", {1: float("inf")})), "cannot be"),
    ],
)
def test_other_xml_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        prices(body, 1.0)


def test_a_kept_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = table_of([(10.0, 0.1), (20.0, -0.2)], "price_usd_per_kwh", "x", 10.0)
    write_table(tmp_path / "s" / "x.json", table)
    again = read_table(tmp_path / "s" / "x.json")
    assert again.times_s.tolist() == [10.0, 20.0] and again.step_s == 10.0
    assert again.columns["price_usd_per_kwh"].tolist() == [0.1, -0.2]
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"adjustment": [1.0, float("nan")]},
        {"adjustment": [float("inf"), 0.1]},
        {"step_s": -5.0},
        {"step_s": float("nan")},
        {"times_s": [20.0, 10.0]},
        {"times_s": [10.0, float("nan")]},
        {"columns": {"price_usd_per_kwh": [[1.0], [2.0]]}},
        {"columns": {"cost": [1.0, 2.0]}},
        {"columns": [1.0]},
    ],
)
def test_a_relayed_table_that_is_none_is_refused(change: dict[str, object]) -> None:
    good = {"times_s": [10.0, 20.0], "columns": {"price_usd_per_kwh": [0.1, 0.2]}, "adjustment": None}
    with pytest.raises(DataError, match="fetched anew"):
        parse_table(json.dumps(good | {"step_s": None} | change).encode(), "relay")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("name: r, kind: relay, remote: x", "needs a dashboard"),
        ("name: e, kind: entsoe, area: 10Y1001A1001A82H, usd_per_eur: 1.1", "asks for a token"),
        (
            "name: h, kind: http_json, url: 'http://x/', columns: {price_usd_per_kwh: {rows: a}}",
            "rows, time and",
        ),
        ("name: h, kind: http_json, url: 'http://u:p@x/', columns: {temp_c: {value: a}}", "url"),
        ("name: h, kind: http_json, url: 'http://x/', columns: {cost: {value: a}}", "columns"),
    ],
)
def test_a_wrong_source_is_named(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        site(tmp_path, source)
