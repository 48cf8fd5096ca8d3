"""Numbers of the evaluation, worked out by hand on a few rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainer.dataset import Dataset
from trainer.evaluation import evaluate
from trainer.evaluation_accuracy import judge
from trainer.evaluation_direction import direction, wilson
from trainer.evaluation_regret import regret_by_unit
from trainer.held_out import HeldOut, LevelCurve
from trainer.learn import Learned

DAY_S = 86400.0
MONDAY_S = 1_767_571_200.0  # 2026-01-05, a Monday
UNITS = (("farm", "a", "s19"), ("farm", "b", "s19"), ("farm", "c", "m50"))


def held(count: int = 30, **columns: object) -> HeldOut:
    """Rows of miner a: 100 TH/s, 3000 W and 2 USD a day seen, as predicted, intervals of 2 % each way."""
    observed = {"hashrate_ths": 100.0, "power_w": 3000.0, "chip_temp_c": 60.0, "profit_usd_per_day": 2.0}
    rows = {name: np.full(count, value) for name, value in observed.items()}
    predicted = {name: values[:, None] * np.array([0.98, 1.0, 1.02]) for name, values in rows.items()}
    made = HeldOut(
        at_s=MONDAY_S + 3600.0 * np.arange(count),
        unit=np.zeros(count, dtype=np.int64),
        model=np.zeros(count, dtype=np.int64),
        seen=np.ones(count, dtype=np.bool_),
        share=np.ones(count),
        changed=np.zeros(count, dtype=np.bool_),
        hashprice=np.full(count, 0.05),
        price=np.full(count, 0.05),
        predicted=predicted,
        units=UNITS,
        models=("s19", "m50"),
        curves=(),
        row=np.arange(count),
        **rows,
    )
    return replace(made, **columns)


def everything(rows: HeldOut) -> np.ndarray:
    return np.ones(len(rows), dtype=np.bool_)


def test_error_bias_coverage_and_width_are_those_worked_out_by_hand() -> None:
    observed = np.array([100.0] * 6 + [110.0] * 3 + [90.0])
    own = judge("all", held(10, hashrate_ths=observed), everything(held(10))).quantities["hashrate_ths"]
    assert own.rows == 10 and own.units == 1
    assert own.error == 0.0 and own.bias == 0.0
    assert own.coverage == pytest.approx(0.6)
    assert own.above == pytest.approx(0.3) and own.below == pytest.approx(0.1)
    assert own.width == pytest.approx(0.04)
    assert own.standard_error is None


def test_bias_has_the_sign_of_a_prediction_that_is_too_high() -> None:
    rows = held(10, power_w=np.full(10, 2400.0))
    own = judge("all", rows, everything(rows)).quantities["power_w"]
    assert own.bias == pytest.approx(0.25) and own.error == pytest.approx(0.25)


def test_rows_without_a_measurement_count_for_nothing() -> None:
    power = np.full(10, 3000.0)
    power[3:] = np.nan
    rows = held(10, power_w=power)
    assert judge("all", rows, everything(rows)).quantities["power_w"].rows == 3


def test_standard_error_comes_from_the_spread_between_miners() -> None:
    unit = np.repeat([0, 1], 5)
    rows = held(10, unit=unit, hashrate_ths=np.where(unit == 0, 100.0, 125.0))
    own = judge("all", rows, everything(rows)).quantities["hashrate_ths"]
    # Median errors of 0 and 0.2: their standard deviation over the root of two.
    assert own.standard_error == pytest.approx(0.1)
    assert own.coverage_standard_error == pytest.approx(0.5)


def test_groups_are_by_model_firmware_setting_week_and_month() -> None:
    count = 60
    rows = held(
        count,
        at_s=MONDAY_S + 5 * DAY_S + np.arange(count) * 3600.0 * 8,
        unit=np.repeat([0, 2], 30),
        model=np.repeat([0, 1], 30),
        share=np.where(np.arange(count) < 30, 0.55, 1.0),
    )
    found = evaluate(rows, ["old"] * 30 + ["new"] * 30)
    assert [g.name for g in found.by_model] == ["m50", "s19"]
    assert [g.name for g in found.by_firmware] == ["new", "old"]
    assert [g.name for g in found.by_setting] == ["50 to 60 %", "100 to 110 %"]
    assert [g.name for g in found.by_week] == ["2026-01-12", "2026-01-19"]
    assert [g.name for g in found.by_month] == ["2026-01"]
    assert found.by_firmware[0].quantities["power_w"].rows == 30


def test_hardware_left_out_of_the_fit_is_judged_apart() -> None:
    seen = np.repeat([True, False], 30)
    rows = held(60, seen=seen, hashrate_ths=np.where(seen, 100.0, 80.0))
    found = evaluate(rows)
    assert found.rows == 30 and found.overall.quantities["hashrate_ths"].error == 0.0
    assert found.unseen is not None
    assert found.unseen.quantities["hashrate_ths"].error == pytest.approx(0.25)


def moves(true_after: float, told_after: float) -> HeldOut:
    """A steady row at 2 USD a day, then the eve of a change to half power."""
    profit = np.array([2.0, true_after])
    rows = held(
        2,
        share=np.array([1.0, 0.5]),
        changed=np.array([False, True]),
        profit_usd_per_day=profit,
    )
    told = np.array([2.0, told_after])
    return replace(rows, predicted=rows.predicted | {"profit_usd_per_day": told[:, None] * np.ones(3)})


@pytest.mark.parametrize(
    ("true_after", "told_after", "cell"),
    [(3.0, 2.5, (0, 0)), (1.0, 2.5, (0, 2)), (2.0, 2.5, (0, 1)), (1.0, 2.0, (1, 2)), (1.0, 1.5, (2, 2))],
)
def test_a_change_lands_in_the_cell_of_what_was_told_and_what_came(
    true_after: float, told_after: float, cell: tuple[int, int]
) -> None:
    found = direction(moves(true_after, told_after))
    assert found.pairs == 1 and found.table[cell[0]][cell[1]] == 1
    sure = 1 not in cell
    assert found.accuracy == (float(cell[0] == cell[1]) if sure else None)


def test_a_market_that_moves_moves_no_direction() -> None:
    # Hashprice doubles between the rows; the miner does the same as before, so profit at equal prices ties.
    rows = held(2, share=np.array([1.0, 0.9]), changed=np.array([False, True]))
    revenue = 2.0 + 0.05 * 0.024 * 3000.0
    later = np.array([2.0, 2.0 * revenue - 0.05 * 0.024 * 3000.0])
    rows = replace(
        rows,
        hashprice=np.array([0.05, 0.10]),
        profit_usd_per_day=later,
        predicted=rows.predicted | {"profit_usd_per_day": later[:, None] * np.ones(3)},
    )
    assert direction(rows).table[1][1] == 1


def test_wilson_stays_within_0_and_1() -> None:
    low, high = wilson(10, 10)
    assert high == pytest.approx(1.0) and 0.7 < low < 0.9


def curve(predicted_power: list[float]) -> LevelCurve:
    return LevelCurve(
        unit=0,
        model=0,
        seen=True,
        share=np.array([0.5, 1.0]),
        rate=np.array([60.0, 100.0]),
        power=np.array([1500.0, 3000.0]),
        predicted_rate=np.array([[60.0, 100.0]]),
        predicted_power=np.array([predicted_power]),
        hashprice=np.array([0.05]),
        price=np.array([0.05]),
        row=np.array([0]),
    )


def test_regret_is_the_money_between_the_best_choice_and_the_one_made() -> None:
    # 60 TH/s earn 3.0 - 1.8 = 1.2 USD, 100 TH/s earn 5.0 - 3.6 = 1.4 USD.
    assert regret_by_unit([curve([1500.0, 3000.0])])[0] == pytest.approx(0.0)
    # Believing 3400 W at the top makes it 0.92 USD, so the lower level is taken and 0.2 USD lost.
    assert regret_by_unit([curve([1500.0, 3400.0])])[0] == pytest.approx(0.2)
    found = evaluate(replace(held(), curves=(curve([1500.0, 3400.0]),))).regret
    assert found is not None and found.nominal_usd_per_unit_day == pytest.approx(0.0)
    assert found.best_usd_per_unit_day == pytest.approx(1.4)


def test_held_out_rows_are_later_than_training_and_never_predicted_by_their_own_unit(
    learned: Learned, dataset: Dataset
) -> None:
    rows = learned.held_out
    span = dataset.at_s.max() - dataset.at_s.min()
    assert (rows.at_s > dataset.at_s.min() + 0.6 * span).all()
    assert rows.seen.any() and not rows.seen.all()
    # Each row once for the fit without its unit and once for that without its hardware model.
    assert len(np.unique(np.stack([rows.row, rows.seen]), axis=1).T) == len(rows)
    assert (rows.hashrate_ths == dataset.hashrate_ths[rows.row]).all()
    low, middle, high = rows.predicted["power_w"].T
    known = np.isfinite(middle)
    assert (low[known] < middle[known]).all() and (middle[known] < high[known]).all()
    # A prediction that had seen its row would have no error to speak of.
    assert np.median(np.abs(middle[known] / rows.power_w[known] - 1.0)) > 0.001
