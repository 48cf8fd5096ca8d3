"""What units report in a backtest: the truth with noise, and gaps where the firmware is silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from simulator.backtest.beliefs import LearnedCurves, TrueCurves
from simulator.backtest.farm import build_farm
from simulator.backtest.ledger import Standing
from simulator.backtest.market import MarketPlan, lay_out
from simulator.backtest.scene import Rules, Scene
from simulator.backtest.telemetry import Telemetry
from simulator.farm import load_farm
from simulator.weather import constant
from tests.backtest.files import write_farm, write_market, write_prices


@pytest.fixture
def made(tmp_path: Path) -> Scene:
    grid = lay_out(
        MarketPlan(
            write_prices(tmp_path), write_market(tmp_path), constant(25.0), "here", last=date(2022, 3, 5)
        )
    )
    farm = build_farm(load_farm(write_farm(tmp_path)), grid.outside_c)
    return Scene(farm, grid, Rules(1.0 / 6.0, 1, farm.restarts_per_day))


def standing(made: Scene) -> Standing:
    none = np.zeros(made.count, dtype=np.int64)
    return Standing(made.farm.start, none, none)


def test_readings_are_the_truth_with_noise(made: Scene) -> None:
    now = standing(made)
    quiet = np.zeros(made.count, dtype=np.bool_)
    telemetry = Telemetry(made, metered=1.0, seed=1)
    frames = [telemetry.frame(0, 0.5, now, quiet) for _ in range(200)]
    rows = np.arange(made.count)
    rate = np.mean([frame.columns["hashrate_ths"] for frame in frames], axis=0)
    power = np.mean([frame.columns["power_w"] for frame in frames], axis=0)
    assert rate == pytest.approx(made.rate_ths(0)[rows, now.at], rel=0.003)
    true = 1000.0 * made.power_kw(0)[rows, now.at]
    assert frames[0].power_source == ("metered",) * 5
    assert power == pytest.approx(true, rel=0.02)
    one = np.std([frame.columns["hashrate_ths"][0] for frame in frames])
    many = np.std([telemetry.frame(0, 0.5, now, quiet, 25).columns["hashrate_ths"][0] for _ in range(200)])
    assert 0.15 * one < many < 0.25 * one


def test_without_a_meter_a_unit_is_as_right_as_its_own_sensor(made: Scene) -> None:
    telemetry = Telemetry(made, metered=0.0, seed=1)
    quiet, rows = np.zeros(made.count, dtype=np.bool_), np.arange(made.count)
    frames = [telemetry.frame(0, 0.5, standing(made), quiet) for _ in range(200)]
    power = np.mean([frame.columns["power_w"] for frame in frames], axis=0)
    true = 1000.0 * made.power_kw(0)[rows, made.farm.start]
    bias = np.array([float(unit.units.bias[0]) for unit in made.farm.units])
    assert power[2:] == pytest.approx((true * bias)[2:], rel=0.01)


def test_without_meter_or_sensor_power_is_unknown(made: Scene) -> None:
    frame = Telemetry(made, metered=0.0, seed=1).frame(0, 0.5, standing(made), np.zeros(5, dtype=np.bool_))
    assert np.isnan(frame.columns["power_w"]).tolist() == [True, True, False, False, False]
    assert frame.power_source[:3] == (None, None, "measured")


def test_a_restart_begins_the_counters_anew(made: Scene) -> None:
    now, telemetry = standing(made), Telemetry(made, metered=0.5, seed=1)
    restarted = np.array([True, False, False, False, False])
    telemetry.pass_step(0, now, restarted)
    frame = telemetry.frame(1, 0.5, now, np.zeros(5, dtype=np.bool_))
    assert frame.columns["uptime_s"][0] == pytest.approx(1.5 * 3600.0)
    assert frame.columns["uptime_s"][1] > 7 * 86400.0


def test_learning_brings_curves_nearer_to_the_truth(made: Scene) -> None:
    now, quiet = standing(made), np.zeros(made.count, dtype=np.bool_)
    beliefs = LearnedCurves(made, None, metered=1.0, seed=2)
    rows = np.arange(made.count)

    def off() -> float:
        found, _ = beliefs.curves(0, now)
        true, _ = TrueCurves(made).curves(0, now)
        believed, real = found.hashrate_ths[rows, now.at, 1], true.hashrate_ths[rows, now.at, 1]
        return float(np.abs(np.log(believed / real)).mean())

    before = off()
    for step in range(made.grid.steps):
        beliefs.observe(step, now, quiet)
    assert off() < 0.5 * before
    assert off() < 0.01


def test_air_that_warms_between_looks_is_reckoned_with_also_for_few_candidates(tmp_path: Path) -> None:
    market = MarketPlan(write_prices(tmp_path), write_market(tmp_path), constant(25.0), "here")
    grid = lay_out(market)
    grid = replace(grid, outside_c=np.where(np.arange(grid.steps) < 4, 25.0, 35.0))
    farm = build_farm(load_farm(write_farm(tmp_path)), grid.outside_c)
    few = int(farm.exists.sum(axis=1).argmin())
    assert not farm.exists[few].all(), "a unit with fewer candidates than others is what this is about"

    def upper(limit_c: float, step: int) -> float:
        limits = np.where(np.arange(len(farm.names)) == few, limit_c, 1000.0)
        made = Scene(replace(farm, chip_max_c=limits), grid, Rules(1.0 / 6.0, 1, farm.restarts_per_day))
        beliefs = LearnedCurves(made, None, metered=1.0, seed=2)
        beliefs.curves(0, standing(made))
        return float(np.nanmax(beliefs.curves(step, standing(made))[0].chip_temp_c[few, :, 2]))

    looked = upper(1000.0, 0)
    assert upper(looked + 1.0, 0) == looked
    assert upper(looked + 1.0, 4) > looked + 10.0
