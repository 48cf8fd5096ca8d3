"""What befalls units in history shows in telemetry as it does on a real farm."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.lake.check import check_lake
from agent.telemetry import WORK_MODE_CODES
from simulator import history_events, history_faults
from simulator.history import HistoryGroup, HistoryPlan
from simulator.history_counters import RunningTotal
from simulator.history_faults import SiteFaults, UnitFaults, draw_site_faults, draw_unit_faults
from simulator.history_lake import write_history
from simulator.weather import constant
from tests.simulator.making import model

HOUR, DAY = 3600.0, 86400.0
QUIET = UnitFaults((), (), ())
CALM = SiteFaults((), ())


def plan(key: str = "antminer-s19-pro", count: int = 6, **changes: Any) -> HistoryPlan:
    given: dict[str, Any] = {"first": date(2026, 2, 1), "days": 10, "metered": 1.0, "bench": 0.0}
    return HistoryPlan(((model(key), count),), constant(22.0), **(given | changes))


def group(
    made: HistoryPlan, site: SiteFaults = CALM, faults: UnitFaults = QUIET, settings: bool = False
) -> HistoryGroup:
    """A group that lives through these faults and, unless `settings`, through nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.history.draw_site_faults", lambda *_: site)
        patch.setattr("simulator.history.draw_unit_faults", lambda *_: faults)
        if not settings:
            patch.setattr(
                history_events, "_settings", lambda menu, rng, start, end: [(start - HOUR, menu.usual)]
            )
            patch.setattr(history_events, "moments", lambda *_: [])
        return HistoryGroup(made, *made.models[0])


def rows(made: HistoryPlan, lived: HistoryGroup) -> tuple[Any, dict[str, Any], Any]:
    times = made.start_s + made.step_s * np.arange(made.days * 86400 // made.step_s, dtype=np.float64)
    return lived.rows(times)


def mean(values: Any, where: Any) -> float:
    return float(values[where].mean())


def test_a_power_cut_silences_every_unit_and_starts_it_anew() -> None:
    made = plan()
    begin, end = made.start_s + 2 * DAY, made.start_s + 2 * DAY + HOUR
    at, columns, keep = rows(made, group(made, SiteFaults(((begin, end),), ())))
    assert not keep[(at > begin) & (at < end)].any()
    after = (at > end + 900.0) & (at < end + 1200.0)
    assert (columns["uptime_s"][after] < 1200.0).all()
    before = (at > begin - 600.0) & (at < begin)
    assert (columns["uptime_s"][before] > DAY).all()


def test_a_stumbling_pool_shows_in_rejects_and_not_in_the_hashrate() -> None:
    made = plan()
    begin, end = made.start_s + 2 * DAY, made.start_s + 2 * DAY + HOUR
    at, columns, _ = rows(made, group(made, SiteFaults((), ((begin, end, 0.5),))))
    inside, outside = (at > begin) & (at < end), (at > begin - 6 * HOUR) & (at < begin)
    assert columns["hashrate_ths"][inside].mean() == pytest.approx(
        columns["hashrate_ths"][outside].mean(), rel=0.01
    )
    lost = columns["shares_rejected"] + columns["shares_stale"]
    share = (
        np.diff(lost)[inside[:, 1:]].sum() / np.diff(lost + columns["shares_accepted"])[inside[:, 1:]].sum()
    )
    assert share == pytest.approx(0.5, abs=0.06)
    calm = np.diff(lost)[outside[:, 1:]].sum() / np.diff(columns["shares_accepted"])[outside[:, 1:]].sum()
    assert calm < 0.01


def test_a_fading_board_loses_hashrate_but_less_power_and_shows_errors() -> None:
    made = plan()
    begin, end = made.start_s + DAY, made.start_s + 9 * DAY
    at, columns, _ = rows(made, group(made, faults=UnitFaults(((begin, end, 0.2),), (), ())))
    early, late = at < begin, (at > end - DAY / 2) & (at < end)
    rate = (
        columns["hashrate_ths"][late].mean()
        / columns["hashrate_ths"][early & (at > made.start_s + HOUR)].mean()
    )
    power = columns["power_w"][late].mean() / columns["power_w"][early & (at > made.start_s + HOUR)].mean()
    assert rate == pytest.approx(0.805, abs=0.01)
    assert rate < power < 1.0
    errors = np.diff(columns["hw_errors"], axis=1)
    assert errors[late[:, 1:]].mean() > 3.0 * errors[early[:, 1:]].mean()


def test_a_mended_board_hashes_as_before_after_a_restart() -> None:
    made = plan()
    begin, end = made.start_s + DAY, made.start_s + 5 * DAY
    at, columns, _ = rows(made, group(made, faults=UnitFaults(((begin, end, 0.2),), (), ())))
    healed = at > end + HOUR
    before = (at > made.start_s + HOUR) & (at < begin)
    assert columns["hashrate_ths"][healed].mean() == pytest.approx(
        columns["hashrate_ths"][before].mean(), rel=0.01
    )
    assert columns["uptime_s"][healed].max() < 5 * DAY


def test_a_fan_that_stands_still_shows_in_speed_heat_and_power() -> None:
    made = replace(plan(), ambient=constant(33.0))
    begin, end = made.start_s + 2 * DAY, made.start_s + 4 * DAY
    at, columns, _ = rows(made, group(made, faults=UnitFaults((), ((begin, end),), ())))
    inside, outside = (at > begin + HOUR) & (at < end), (at > made.start_s + HOUR) & (at < begin)
    unit = model("antminer-s19-pro")
    assert columns["chip_temp_c"][inside].mean() > columns["chip_temp_c"][outside].mean() + 1.0
    full = unit.thermal.fan_full_rpm
    assert columns["fan_rpm"][inside].mean() < full * 0.76
    assert columns["power_w"][inside].mean() > 1.01 * columns["power_w"][outside].mean()


def test_a_process_that_crashes_in_a_loop_never_gets_old() -> None:
    made = plan()
    crashes = tuple(made.start_s + 3 * DAY + 1200.0 * i for i in range(10))
    at, columns, _ = rows(made, group(made, faults=UnitFaults((), (), crashes)))
    during = (at > crashes[0] + 60.0) & (at < crashes[-1])
    assert columns["uptime_s"][during].max() < 1300.0
    assert columns["hashrate_ths"][during].mean() < 0.8 * columns["hashrate_ths"][at < crashes[0]].mean()


def test_a_change_that_firmware_only_claims_shows_the_new_setting_and_the_old_power(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history_events, "_LIE_CHANCE", 1.0)
    made = plan("whatsminer-m50", count=1)
    low = made.start_s + DAY

    def settings(menu: Any, *_: Any) -> list[Any]:
        return [(made.start_s - HOUR, menu.usual), (low, menu._limit(0.6))]

    monkeypatch.setattr(history_events, "_settings", settings)
    monkeypatch.setattr(history_events, "moments", lambda *_: [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.history.draw_unit_faults", lambda *_: QUIET)
        patch.setattr("simulator.history.draw_site_faults", lambda *_: CALM)
        lived = HistoryGroup(made, *made.models[0])
    at, columns, _ = rows(made, lived)
    before, after = (at > made.start_s + HOUR) & (at < low), at > low + HOUR
    assert columns["setting_share"][after].max() < 0.61
    assert columns["power_limit_w"][after].max() < 0.61 * 3422
    assert columns["power_w"][after].mean() == pytest.approx(columns["power_w"][before].mean(), rel=0.02)


@pytest.mark.parametrize(
    ("key", "name", "stopped"),
    [("antminer-s19-pro", "work_mode_code", "sleep"), ("whatsminer-m50", "work_mode_code", "stopped")],
)
def test_the_mode_says_when_a_unit_is_stopped(key: str, name: str, stopped: str) -> None:
    made = plan(key, days=20)
    _, columns, _ = rows(made, group(made, settings=True))
    still = columns["setting_share"] == 0.0
    assert still.any()
    assert set(columns[name][still]) == {WORK_MODE_CODES[stopped]}
    assert WORK_MODE_CODES["normal"] in columns[name][~still]


def test_an_s21_says_its_percent_and_a_whatsminer_its_limit() -> None:
    made = plan("antminer-s21", days=20)
    _, columns, _ = rows(made, group(made, settings=True))
    running = (columns["setting_share"] > 0.0) & (columns["work_mode_code"] == WORK_MODE_CODES["normal"])
    percents = columns["hashrate_percent"][running]
    assert np.isfinite(percents).all()
    assert percents.min() < 80.0 < 99.0 < percents.max()
    made = plan("whatsminer-m50", days=20)
    _, columns, _ = rows(made, group(made, settings=True))
    assert np.isfinite(columns["power_limit_w"]).all()
    assert np.isnan(columns["hashrate_percent"]).all()
    percent = np.isfinite(columns["power_percent"])
    assert percent.any()
    assert columns["power_percent"][percent] == pytest.approx(100.0 * columns["setting_share"][percent])


def test_boards_differ_by_a_degree_or_two_where_they_are_warm() -> None:
    made = plan()
    at, columns, _ = rows(made, group(made))
    warm = at > made.start_s + HOUR
    assert 1.0 < np.median(columns["chip_temp_spread_c"][warm]) < 4.0


def test_faults_come_as_often_as_they_should() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_unit_faults(rng, 0.0, 365 * DAY, 4) for _ in range(300)]
    assert np.mean([len(f.fades) for f in drawn]) == pytest.approx(365 / 120, rel=0.1)
    assert np.mean([len(f.fans) for f in drawn]) == pytest.approx(365 / 160, rel=0.15)
    sites = [draw_site_faults(rng, 0.0, 365 * DAY) for _ in range(200)]
    assert np.mean([len(s.pool) for s in sites]) == pytest.approx(365 / 12, rel=0.05)
    assert np.mean([len(s.outages) for s in sites]) == pytest.approx(365 / 45, rel=0.1)


def test_a_unit_without_fans_loses_none() -> None:
    rng = np.random.default_rng(1)
    assert all(not draw_unit_faults(rng, 0.0, 3650 * DAY, 0).fans for _ in range(5))


def test_every_unit_of_a_site_has_its_power_cuts_at_once(tmp_path: Path) -> None:
    made = plan(days=120)
    lives = [
        HistoryGroup(replace(made, models=((model(key), 2),)), model(key), 2)
        for key in ("antminer-s21", "whatsminer-m50")
    ]
    assert lives[0].site == lives[1].site
    assert lives[0].site.outages


def test_with_everything_that_can_happen_the_lake_has_no_problems(tmp_path: Path) -> None:
    keys = ("antminer-s19-pro", "antminer-s9", "whatsminer-m50", "antminer-s21-hyd")
    made = replace(plan(days=40), models=tuple((model(key), 3) for key in keys))
    write_history(made, tmp_path / "lake")
    assert check_lake(tmp_path / "lake").problems == []


def test_a_running_total_goes_on_from_stretch_to_stretch() -> None:
    timing = model("antminer-s19-pro").timing
    rate = np.ones((1, 40))
    process = np.full((1, 40), -20_000.0)
    process[0, 25:] = 24.5 * 300.0
    uptime = 300.0 * np.arange(40.0)[None, :] - process
    whole = RunningTotal(1, 300.0, timing).add(uptime, process, rate)
    parts = RunningTotal(1, 300.0, timing)
    spans = (slice(0, 17), slice(17, 40))
    two = np.concatenate([parts.add(uptime[:, s], process[:, s], rate[:, s]) for s in spans], axis=1)
    assert two == pytest.approx(whole)
    assert whole[0, 25] < 300.0
    assert (np.diff(whole[0, :25]) > 0.0).all()


def test_a_fade_is_a_straight_line() -> None:
    faults = UnitFaults(((0.0, 100.0, 0.2),), (), ())
    assert faults.faded(np.array([-1.0, 0.0, 50.0, 99.0, 100.0])).tolist() == [0.0, 0.0, 0.1, 0.198, 0.0]
    assert history_faults.FADE_POWER < 1.0
