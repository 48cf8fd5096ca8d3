from __future__ import annotations

import numpy as np
import pytest

from simulator.physics import (
    Units,
    curve_table,
    draw_units,
    hashrate_at,
    level_for_power,
    operate,
    throttle,
)
from simulator.physics_file import ModelPhysics, default_physics
from tests.simulator.making import model

# asic-rs luxminer fixture: TH/s, W.
S19K_PRO = [
    (39.2, 784), (54.7, 1080), (70.2, 1414), (85.7, 1785), (101.1, 2192), (121.8, 2794),
    (137.3, 3288), (163.1, 4195),
]  # fmt: skip
EVERY = sorted(default_physics().models)


def average(spec: ModelPhysics, count: int = 1) -> Units:
    one, zero = np.ones(count), np.zeros(count)
    return Units(one, one, zero, one, zero, one, np.full((count, spec.boards), 1.0 / spec.boards))


def test_the_s19k_pro_draws_what_luxos_says_at_every_profile() -> None:
    spec = model("antminer-s19k-pro")
    rates = np.array([rate for rate, _ in S19K_PRO])
    got = operate(spec, curve_table(spec), average(spec), rates / 120.0, np.array(25.0))
    assert got.power_w == pytest.approx([watts for _, watts in S19K_PRO], rel=0.005)
    assert got.hashrate_ths == pytest.approx(rates)


@pytest.mark.parametrize("key", EVERY)
def test_the_average_unit_draws_rated_power_at_rated_hashrate(key: str) -> None:
    spec = model(key)
    inlet = np.array(spec.thermal.reference_inlet_c)
    got = operate(spec, curve_table(spec), average(spec), np.ones(1), inlet)
    assert got.power_w[0] == pytest.approx(spec.rated_power_w, rel=0.02)


@pytest.mark.parametrize("key", EVERY)
def test_power_rises_with_hashrate_and_ever_more_steeply(key: str) -> None:
    spec = model(key)
    table = curve_table(spec)
    slope = np.diff(table.power_w)
    assert (slope > 0.0).all()
    above = table.level[1:] > spec.floor_ths / spec.rated_hashrate_ths + 0.05
    assert slope[above][-1] > 1.2 * slope[above][0]


@pytest.mark.parametrize("key", EVERY)
def test_below_the_floor_efficiency_worsens(key: str) -> None:
    spec = model(key)
    floor = spec.floor_ths / spec.rated_hashrate_ths
    got = operate(spec, curve_table(spec), average(spec), floor * np.array([0.3, 0.6, 1.0]), np.array(25.0))
    assert (np.diff(got.power_w / got.hashrate_ths) < 0.0).all()


@pytest.mark.parametrize("key", EVERY)
def test_the_level_for_a_power_is_the_way_back(key: str) -> None:
    spec = model(key)
    units = draw_units(spec, np.random.default_rng(3), 50)
    table, inlet, level = curve_table(spec), np.full(50, 31.0), np.linspace(0.3, 1.2, 50)
    power = operate(spec, table, units, level, inlet, age_days=90.0).power_w
    assert level_for_power(spec, table, units, power, inlet, age_days=90.0) == pytest.approx(level, rel=2e-3)


def test_too_little_power_hashes_nothing() -> None:
    spec = model("whatsminer-m50")
    got = level_for_power(spec, curve_table(spec), average(spec), np.array([20.0]), np.array(25.0))
    assert got[0] == 0.0


# Bitmain's S21 manual.
@pytest.mark.parametrize(("inlet_c", "j_th"), [(25.0, 17.5), (35.0, 18.5), (40.0, 19.0), (44.0, 19.5)])
def test_the_s21_loses_efficiency_with_inlet_as_in_its_manual(inlet_c: float, j_th: float) -> None:
    spec = model("antminer-s21")
    level = throttle(spec, np.array([inlet_c]))
    got = operate(spec, curve_table(spec), average(spec), level, np.array([inlet_c]))
    assert got.power_w[0] / got.hashrate_ths[0] == pytest.approx(j_th, rel=0.05)


def test_the_s21_throttles_above_forty_degrees() -> None:
    spec = model("antminer-s21")
    level = throttle(spec, np.array([40.0, 42.0]))
    assert hashrate_at(spec, average(spec), level) == pytest.approx([200.0, 180.0])


def test_fans_hold_the_chips_until_they_are_at_full_speed() -> None:
    spec = model("antminer-s19-pro")
    inlet = np.array([10.0, 20.0, 40.0, 44.0])
    got = operate(spec, curve_table(spec), average(spec, 4), np.ones(4), inlet)
    assert got.chip_c[1] - got.chip_c[0] < 4.0
    assert got.fan[1] > got.fan[0]
    assert got.fan[3] == 1.0
    assert got.chip_c[3] - got.chip_c[2] > 3.9


def test_a_missing_board_takes_its_hashrate_and_less_of_the_power() -> None:
    spec = model("antminer-s19-pro")
    table, units, inlet = curve_table(spec), average(spec), np.array(25.0)
    whole = operate(spec, table, units, np.ones(1), inlet)
    short = operate(spec, table, units, np.ones(1), inlet, missing=1 / 3)
    assert short.hashrate_ths[0] == pytest.approx(whole.hashrate_ths[0] * 2 / 3)
    assert 0.68 < short.power_w[0] / whole.power_w[0] < 0.80


def test_age_costs_hashrate_and_power() -> None:
    spec = model("antminer-s19-pro")
    table, inlet = curve_table(spec), np.array(25.0)
    new = operate(spec, table, average(spec), np.ones(1), inlet)
    old = operate(spec, table, average(spec), np.ones(1), inlet, age_days=720.0)
    assert old.hashrate_ths[0] < 0.99 * new.hashrate_ths[0]
    assert old.power_w[0] > 1.02 * new.power_w[0]


def test_units_differ_as_the_file_says_and_again_the_same_for_a_seed() -> None:
    spec = model("antminer-s19-pro")
    units = draw_units(spec, np.random.default_rng(1), 4000)
    assert units.power.std() == pytest.approx(spec.spread.power, rel=0.1)
    assert units.hashrate.std() == pytest.approx(spec.spread.hashrate, rel=0.1)
    assert units.board_weights.sum(axis=1) == pytest.approx(np.ones(4000))
    again = draw_units(spec, np.random.default_rng(1), 4000)
    assert (again.power == units.power).all()


def test_the_slope_of_power_differs_from_unit_to_unit() -> None:
    spec = model("whatsminer-m50")
    units = draw_units(spec, np.random.default_rng(1), 200)
    table, inlet = curve_table(spec), np.full(200, 25.0)
    high, low = (operate(spec, table, units, np.full(200, level), inlet).power_w for level in (1.0, 0.7))
    exponent = np.log(high / low) / np.log(1.0 / 0.7)
    assert 1.0 < exponent.min() < exponent.max() < 1.8
    assert exponent.std() > 0.03
