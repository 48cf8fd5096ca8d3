"""Tariffs: known horizons, clock changes, gaps, spikes, dead feeds; the money worked out by hand."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.cli import main
from agent.config import SiteConfig
from agent.errors import ConfigError, DataError
from agent.money.config import DemandCharge
from agent.money.demand import DemandMeter
from agent.money.economics import Economics, profit_usd_per_day
from agent.yamlfile import parse_yaml

MONDAY = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)


def site(tariff: str, more: str = "") -> SiteConfig:
    text = (
        "site: {id: s}\nmarket: {hashprice_usd_per_ths_day: 0.05, pool_fee_share: 0}\n"
        f"tariff: {{{tariff}}}\nminers: [{{address: 127.0.0.1}}]\n{more}"
    )
    return parse_yaml(text, SiteConfig)


def csv(folder: Path, rows: list[tuple[datetime, float]]) -> Path:
    path = folder / "prices.csv"
    lines = [f"{at.isoformat()},{value:g}" for at, value in rows]
    path.write_text("time_utc,price_usd_per_mwh\n" + "\n".join(lines) + "\n")
    return path


def hourly(days: float, *, start: datetime = MONDAY, step: timedelta = timedelta(hours=1)) -> list:
    count = round(days * timedelta(days=1) / step)
    return [(start + i * step, 40.0 + (i * step / timedelta(hours=1)) % 24) for i in range(count)]


def spent(money: Economics, now: datetime, hours: int, kw: float = 1.0) -> float:
    """USD for a steady draw over the hours ahead."""
    times = now.timestamp() + 3600.0 * np.arange(hours)
    return float((money.cost_usd_per_kwh(times, now) * kw).sum())


@pytest.mark.parametrize(
    ("now", "until"),
    [
        # Clocks in Berlin go forward on 2026-03-29: its midnight is 23:00 UTC before, 22:00 UTC after.
        (datetime(2026, 3, 27, 11, 59, tzinfo=UTC), datetime(2026, 3, 27, 23, tzinfo=UTC)),
        (datetime(2026, 3, 27, 12, 0, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        (datetime(2026, 3, 28, 12, 0, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (datetime(2026, 3, 29, 10, 59, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (datetime(2026, 3, 29, 11, 0, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC)),
    ],
)
def test_day_ahead_is_known_to_the_end_of_the_published_local_day(
    tmp_path: Path, now: datetime, until: datetime
) -> None:
    path = csv(tmp_path, hourly(40))
    money = Economics(site(f"kind: series, path: {path}, timezone: Europe/Berlin"))
    forecast = money.forecast(now, 60)
    assert forecast.known_until == until
    known = round((until - now) / timedelta(hours=1) + 0.49)
    assert (forecast.price_sigma_usd_per_kwh[:known] == 0.0).all()
    assert (forecast.price_sigma_usd_per_kwh[known + 1 :] > 0.0).all()


def test_real_time_prices_are_known_to_now(tmp_path: Path) -> None:
    now = MONDAY + timedelta(days=9, minutes=20)
    path = csv(tmp_path, hourly(20))
    forecast = Economics(site(f"kind: series, path: {path}, horizon: real_time")).forecast(now, 24)
    assert forecast.known_until == MONDAY + timedelta(days=9, hours=1)
    assert forecast.price_usd_per_kwh[0] == pytest.approx(0.040)
    assert forecast.price_sigma_usd_per_kwh[0] == 0.0 and (forecast.price_sigma_usd_per_kwh[1:] > 0.0).all()
    # Each day is like the one before, so the forecast is close.
    assert forecast.price_usd_per_kwh[6] == pytest.approx(0.046, abs=0.003)


def test_quarter_hours_cost_what_they_say(tmp_path: Path) -> None:
    quarter = timedelta(minutes=15)
    # 20, 30, 40 and 90 USD/MWh in the four quarters of every hour.
    rows = [(MONDAY + i * quarter, (20.0, 30.0, 40.0, 90.0)[i % 4]) for i in range(192)]
    money = Economics(site(f"kind: series, path: {csv(tmp_path, rows)}"))
    forecast = money.forecast(MONDAY, 24, 0.25)
    # 4 kW over a day: 96 quarters of 1 kWh at 0.045 USD on average.
    assert float(forecast.price_usd_per_kwh.sum()) * 4.0 * 0.25 == pytest.approx(96 * 0.045)


def test_the_day_of_a_clock_change_has_23_hours_to_pay(tmp_path: Path) -> None:
    table = (
        "kind: time_of_use, timezone: Europe/Berlin, otherwise_usd_per_kwh: 0.10, "
        "periods: [{from: '00:00', to: '06:00', price_usd_per_kwh: 0.04}]"
    )
    money = Economics(site(table))
    # 2026-03-29 runs from 23:00 to 22:00 UTC; of its night 5 h are left: 5 x 0.04 + 18 x 0.10.
    assert spent(money, datetime(2026, 3, 28, 23, tzinfo=UTC), 23) == pytest.approx(2.00)
    # 2026-10-25 has 25 hours, 7 of them at night: 7 x 0.04 + 18 x 0.10.
    assert spent(money, datetime(2026, 10, 24, 22, tzinfo=UTC), 25) == pytest.approx(2.08)


def test_rows_that_stand_twice_are_paid_once(tmp_path: Path) -> None:
    rows = hourly(2)
    once = spent(Economics(site(f"kind: series, path: {csv(tmp_path, rows)}")), MONDAY, 24)
    twice = spent(Economics(site(f"kind: series, path: {csv(tmp_path, rows + rows)}")), MONDAY, 24)
    # 24 h at 0.040 to 0.063 USD, 0.0515 on average.
    assert once == twice == pytest.approx(24 * 0.0515)


def test_a_missing_hour_is_forecast_and_not_free(tmp_path: Path) -> None:
    missing = MONDAY + timedelta(days=10, hours=5)
    rows = [row for row in hourly(12) if row[0] != missing]
    money = Economics(site(f"kind: series, path: {csv(tmp_path, rows)}"))
    forecast = money.forecast(MONDAY + timedelta(days=10), 24)
    assert forecast.price_usd_per_kwh[5] == pytest.approx(0.045, abs=0.004)
    assert forecast.price_sigma_usd_per_kwh[5] > 0.0 == forecast.price_sigma_usd_per_kwh[4]
    assert spent(money, MONDAY + timedelta(days=10), 24) == pytest.approx(24 * 0.0515, abs=0.004)


def test_a_negative_price_pays_for_drawing_and_no_cooling_makes_it_a_cost(tmp_path: Path) -> None:
    rows = [(at, -30.0 if at.hour == 3 else 50.0) for at, _ in hourly(2)]
    money = Economics(site(f"kind: series, path: {csv(tmp_path, rows)}", "limits: {pue: 1.2}\n"))
    three = MONDAY + timedelta(hours=3)
    # 3 kW and 20 % for cooling: 3.6 kWh at -0.03 USD.
    assert spent(money, three, 1, kw=3.0) == pytest.approx(-0.108)
    price = money.conditions(three).price_usd_per_kwh
    # Without any hashing: 3 kW x 24 h x 1.2 x 0.03 USD are earned in a day.
    earned = profit_usd_per_day(np.zeros(1), np.array([3000.0]), 0.05, price, pool_fee_share=0.0, pue=1.2)
    assert earned[0] == pytest.approx(2.592)


def test_a_spike_is_paid_in_its_hour_and_does_not_last(tmp_path: Path) -> None:
    now = MONDAY + timedelta(days=20, hours=10)
    rows = [(at, 9000.0 if at == now else value) for at, value in hourly(20.5)]
    money = Economics(site(f"kind: series, path: {csv(tmp_path, rows)}, horizon: real_time"))
    # 2 kWh at 9 USD.
    assert spent(money, now, 1, kw=2.0) == pytest.approx(18.0)
    forecast = money.forecast(now, 30)
    assert forecast.price_usd_per_kwh[12] < 0.12
    later = money.forecast(now + timedelta(hours=1), 30)
    assert later.price_usd_per_kwh[0] == pytest.approx(0.051)
    assert later.price_usd_per_kwh[1:].max() < 0.1


def test_a_frozen_feed_is_unknown_or_the_fallback(tmp_path: Path) -> None:
    now = MONDAY + timedelta(days=5)
    stopped = now - timedelta(hours=30)
    rows = [(at, 55.0 if at >= stopped else value) for at, value in hourly(5 + 1 / 24)]
    path = csv(tmp_path, rows)
    money = Economics(site(f"kind: series, path: {path}, horizon: real_time"))
    assert np.isnan(money.conditions(now).price_usd_per_kwh)
    assert np.isnan(money.forecast(now, 24).price_usd_per_kwh).all()
    assert "stood still at 0.055 USD/kWh for 31 h" in money.forecast(now, 1).price_source
    # Seven hours earlier it had stood still for 24 h, which is still believed.
    assert money.conditions(now - timedelta(hours=7)).price_usd_per_kwh == pytest.approx(0.055)
    fallen = Economics(site(f"kind: series, path: {path}, horizon: real_time, fallback_usd_per_kwh: 0.3"))
    # A day of 1 kW at the fallback.
    assert spent(fallen, now, 24) == pytest.approx(7.20)
    assert "fallback of 0.3 USD/kWh" in fallen.forecast(now, 1).price_source


def test_a_dead_real_time_feed_is_stale_after_two_hours(tmp_path: Path) -> None:
    path = csv(tmp_path, hourly(5))  # the last row begins at 23:00
    money = Economics(site(f"kind: series, path: {path}, horizon: real_time"))
    end = MONDAY + timedelta(days=5)
    assert np.isfinite(money.conditions(end + timedelta(minutes=50)).price_usd_per_kwh)
    assert np.isnan(money.conditions(end + timedelta(minutes=70)).price_usd_per_kwh)
    assert "over the limit of 2 h" in money.forecast(end + timedelta(hours=3), 1).price_source


def test_seasons_and_holidays() -> None:
    table = (
        "kind: time_of_use, timezone: UTC, otherwise_usd_per_kwh: 0.05, holidays: [2026-12-25], periods: ["
        "{season: [11-01, 03-31], days: [mon, tue, wed, thu, fri], from: '16:00', to: '20:00', "
        "price_usd_per_kwh: 0.20}, "
        "{days: [holiday], from: '22:00', to: '02:00', price_usd_per_kwh: 0.01}]"
    )
    money = Economics(site(table))

    def price(*at: int) -> float:
        return money.conditions(datetime(*at, tzinfo=UTC)).price_usd_per_kwh

    assert price(2026, 12, 24, 17) == 0.20  # a Thursday in winter
    assert price(2026, 3, 31, 17) == 0.20 and price(2026, 4, 1, 17) == 0.05
    assert price(2026, 11, 2, 17) == 0.20 and price(2026, 10, 30, 17) == 0.05
    assert price(2026, 12, 25, 17) == 0.05  # a Friday, but a holiday
    assert price(2026, 12, 25, 23) == price(2026, 12, 26, 1) == 0.01  # past midnight of the holiday
    assert price(2026, 12, 25, 1) == 0.05


def test_a_payment_for_not_drawing_is_part_of_what_drawing_costs() -> None:
    tariff = (
        "kind: fixed, price_usd_per_kwh: 0.04, adder_usd_per_kwh: 0.015, "
        "payments: [{from: '17:00', to: '19:00', usd_per_kwh: 0.30}]"
    )
    money = Economics(site(tariff))
    # A day of 1 kW: 22 h at 0.055 and 2 h at 0.355.
    assert spent(money, MONDAY, 24) == pytest.approx(22 * 0.055 + 2 * 0.355)
    assert "paid for not drawing" in money.forecast(MONDAY, 24).price_source


def test_cooling_follows_the_outside_temperature(tmp_path: Path) -> None:
    path = tmp_path / "weather.csv"
    rows = [f"{(MONDAY + timedelta(hours=h)).isoformat()},{-5 + 5 * h}" for h in range(11)]
    path.write_text("time_utc,temp_c\n" + "\n".join(rows) + "\n")
    points = "[{outside_c: 10, pue: 1.0}, {outside_c: 30, pue: 1.2}]"
    cooling = f"cooling: {{points: {points}, path: {path}}}\n"
    money = Economics(site("kind: fixed, price_usd_per_kwh: 0.05", cooling))
    pue = money.forecast(MONDAY, 11).pue
    # -5 C, 10 C, 20 C, 30 C, 45 C.
    assert pue[[0, 3, 5, 7, 10]].tolist() == pytest.approx([1.0, 1.0, 1.1, 1.2, 1.2])
    times = MONDAY.timestamp() + 3600.0 * np.array([5.0, 7.0])
    assert money.cost_usd_per_kwh(times, MONDAY).tolist() == pytest.approx([0.055, 0.06])
    # Where the weather is too old the dearest is taken.
    assert money.pue(MONDAY + timedelta(days=3)) == 1.2


def test_cooling_stands_in_one_place_only() -> None:
    cooling = "cooling: {points: [{outside_c: 1, pue: 1.0}, {outside_c: 3, pue: 1.2}], outside_c: 5}\n"
    with pytest.raises(ConfigError, match=r"limits\.pue and cooling"):
        site("kind: fixed, price_usd_per_kwh: 0.05", cooling + "limits: {pue: 1.1}\n")


def test_the_demand_charge_is_that_of_the_highest_window_of_the_month() -> None:
    meter = DemandMeter(DemandCharge(usd_per_kw_month=10.0, window_minutes=15), "America/Chicago")
    at = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    for minute in range(0, 61, 5):
        # 300 kW, but 600 kW for five minutes of the third window: a mean of 400 kW.
        meter.observe(at + timedelta(minutes=minute), 600e3 if minute == 35 else 300e3)
    assert meter.month == "2026-03"
    assert meter.peak_kw == pytest.approx(400.0)
    assert meter.charge_usd == pytest.approx(4000.0)
    again = DemandMeter(DemandCharge(usd_per_kw_month=10.0, window_minutes=15), "America/Chicago")
    again.restore(meter.to_bytes())
    assert (again.month, again.peak_kw) == (meter.month, meter.peak_kw)
    later = at + timedelta(days=3)
    charge = again.charge(later)
    assert charge.reached_at == datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
    assert charge.words == "peak of this month so far 400.0 kW (set on 10 Mar 07:30), costs 10 USD/kW"
    assert again.charge(at + timedelta(days=30)).reached_at is None
    # April begins at 05:00 UTC in Chicago.
    again.observe(datetime(2026, 4, 1, 4, 50, tzinfo=UTC), 1.0)
    assert again.peak_kw == pytest.approx(400.0)
    again.observe(datetime(2026, 4, 1, 5, 0, tzinfo=UTC), 1.0)
    assert (again.month, again.charge_usd) == ("2026-04", 0.0)


def test_a_peak_that_was_kept_without_its_time_is_shown_without_one() -> None:
    meter = DemandMeter(DemandCharge(usd_per_kw_month=10.0), "UTC")
    meter.restore(json.dumps({"month": "2026-03", "peak_kw": 400.0, "window": None}).encode())
    words = meter.charge(datetime(2026, 3, 10, tzinfo=UTC)).words
    assert words == "peak of this month so far 400.0 kW, costs 10 USD/kW"


def test_a_window_that_was_hardly_seen_is_no_peak() -> None:
    meter = DemandMeter(DemandCharge(usd_per_kw_month=10.0, window_minutes=30), "UTC")
    for minute, watts in ((0, 900e3), (10, float("nan")), (31, 100e3), (45, 100e3), (61, 100e3)):
        meter.observe(MONDAY + timedelta(minutes=minute), watts)
    assert meter.peak_kw == pytest.approx(100.0)


def test_windows_begin_on_the_local_hour_where_zones_differ_by_half_of_one() -> None:
    meter = DemandMeter(DemandCharge(usd_per_kw_month=10.0, window_minutes=60), "Asia/Kolkata")
    # 09:00 to 10:00 there is 03:30 to 04:30 UTC; an hour of UTC holds 300 kW at most.
    for hour, watts in ((2, 200e3), (3, 400e3), (4, 200e3), (5, 200e3)):
        meter.observe(MONDAY + timedelta(hours=hour, minutes=30), watts)
    assert meter.peak_kw == pytest.approx(400.0)


@pytest.mark.parametrize(
    "change", [{"window": [0, -1, 0]}, {"window": "no"}, {"peak_kw": "nan"}, {"peak_s": 1e300}]
)
def test_a_damaged_peak_is_refused(change: dict[str, object]) -> None:
    meter = DemandMeter(DemandCharge(usd_per_kw_month=10.0), "UTC")
    meter.observe(MONDAY, 1.0)
    saved = json.loads(meter.to_bytes()) | change
    with pytest.raises(DataError, match="saved demand peak"):
        meter.restore(json.dumps(saved).encode())


@pytest.mark.parametrize(
    ("tariff", "words"),
    [
        ("kind: series", "exactly one of path and source"),
        ("kind: series, source: nowhere", "tariff.source: there is no source 'nowhere'"),
        ("kind: fixed, price_usd_per_kwh: 0.1, timezone: Mars/Olympus", "Mars/Olympus"),
        ("kind: fixed, price_usd_per_kwh: 0.1, holidays: [2026-02-30]", "holidays.0"),
    ],
)
def test_a_wrong_tariff_is_named(tariff: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        site(tariff)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("tariff: {kind: series, path: no.csv}", "no.csv: cannot be read"),
        ("market: {path: no.csv}", "no.csv: cannot be read"),
        ("advice: {coins: no.yaml}", "no.yaml: cannot be read"),
        (
            "sources: [{name: a, kind: http_json, url: 'http://a', columns: {temp_c: {value: t}}, "
            "token_file: no.token}]",
            "sources: a: .*no.token",
        ),
    ],
)
def test_a_check_of_the_site_file_finds_what_the_agent_would_not_start_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, words: str
) -> None:
    path = tmp_path / "site.yaml"
    parts = {
        "market": "{hashprice_usd_per_ths_day: 0.05}",
        "tariff": "{kind: fixed, price_usd_per_kwh: 0.05}",
    }
    key, value = more.split(": ", 1)
    parts[key] = value
    lines = ["site: {id: s}", "miners: [{address: 127.0.0.1}]", *(f"{k}: {v}" for k, v in parts.items())]
    path.write_text("\n".join(lines))
    with pytest.raises(SystemExit) as ended:
        main(["config", "check", str(path)])
    assert ended.value.code == 2
    assert re.search(words, capsys.readouterr().err)
