from __future__ import annotations

from datetime import timedelta

import pytest

from agent.records import Interval, SettingRecord
from agent.wording import confidence, quantity, setting
from dashboard import wording
from dashboard.charts import ProfitPoint, Scale, nice_range, profit_chart
from tests.dashboard.serving import NOW


def row(minutes: float, profit: float | None, nominal: float | None) -> ProfitPoint:
    return ProfitPoint(NOW + timedelta(minutes=minutes), profit, nominal)


@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [-3.2, 97.1], [5.0, 5.0], [0.001, 0.0012], [-8e4, -7.9e4], [0.0]]
)
def test_an_axis_holds_all_values_in_few_round_steps(values: list[float]) -> None:
    low, high, step = nice_range(values)
    assert low <= min(values)
    assert max(values) <= high
    assert 1 <= round((high - low) / step) <= 7


def test_money_is_summed_over_time_and_not_over_silence() -> None:
    rows = [row(m, 24.0, 12.0) for m in range(0, 61, 5)] + [row(m, 24.0, 12.0) for m in range(600, 661, 5)]
    chart = profit_chart(rows, NOW, NOW + timedelta(hours=12))
    assert chart is not None
    assert chart.covered_h == pytest.approx(2.0)
    assert chart.earned_usd == pytest.approx(2.0)
    assert chart.earned_nominal_usd == pytest.approx(1.0)
    assert chart.profit_path.count("M") == 2


def test_points_without_a_price_are_left_out() -> None:
    rows = [row(0, 24.0, 12.0), row(5, None, 12.0), row(10, 24.0, None)]
    assert profit_chart(rows, NOW, NOW + timedelta(hours=6)) is None


def test_an_interval_above_zero_is_sure_one_across_it_is_not() -> None:
    scale = Scale(-1.0, 3.0)
    sure, unsure = Interval(q10=0.5, q50=1.0, q90=2.0), Interval(q10=-0.5, q50=1.0, q90=2.0)
    assert (scale.bar(sure).tone, scale.bar(unsure).tone) == ("sure", "unsure")
    assert (scale.bar(sure).zero, scale.bar(sure).left, scale.bar(sure).middle) == (25.0, 37.5, 50.0)


def test_bars_stay_in_their_box_however_narrow_the_interval() -> None:
    flat = Interval(q10=2.0, q50=2.0, q90=2.0)
    bar = Scale.of([flat], [2.0], zero=False).bar(flat, 2.0)
    assert 0.0 <= bar.left <= bar.left + bar.width <= 100.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0.0, "$0.00"),
        (-0.004, "$0.00"),
        (-3.456, "\N{MINUS SIGN}$3.46"),
        (1234.5, "$1,234.50"),
        (12345.6, "$12,346"),
    ],
)
def test_money_is_worded(value: float | None, shown: str) -> None:
    assert wording.usd(value) == shown


def test_a_gain_carries_its_sign() -> None:
    assert [wording.gain(v) for v in (1.5, 0.0, -1.5)] == ["+$1.50", "$0.00", "\N{MINUS SIGN}$1.50"]


@pytest.mark.parametrize(
    ("knob", "value", "shown"),
    [
        ("power_limit_w", 2950.0, "2,950 W"),
        ("power_percent", 87.5, "87.5 % power"),
        ("work_mode", "low", "low mode"),
        ("stop", None, "stop"),
    ],
)
def test_a_setting_is_worded(knob: str, value: float | str | None, shown: str) -> None:
    assert setting(SettingRecord(knob=knob, value=value)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(5, "just now"), (80, "80 s ago"), (240, "4 min ago"), (7300, "2 h ago")]
)
def test_an_age_is_worded(seconds: float, shown: str) -> None:
    assert wording.ago(NOW - timedelta(seconds=seconds), NOW) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("power_w", "power, W"),
        ("hashprice_usd_per_ths_day", "hashprice, USD per TH/s and day"),
        ("price_usd_per_kwh", "price, USD/kWh"),
        ("tariff", "tariff"),
    ],
)
def test_a_field_is_worded_with_its_unit(name: str, shown: str) -> None:
    assert quantity(name) == shown


def test_a_probability_never_claims_certainty() -> None:
    assert [confidence(p) for p in (0.0, 0.5, 0.999, 1.0)] == ["< 1 %", "50 %", "> 99 %", "> 99 %"]
