from __future__ import annotations

import math
from dataclasses import replace

import pytest

from agent.advice.maintenance import repair, repairs
from agent.advice.record import Round
from agent.learning.decline import Decline
from agent.reading import Board, MinerError, Reading
from tests.advice.conftest import standing


def reading(*states: str, **changes: object) -> Reading:
    boards = tuple(Board(i, state=state) for i, state in enumerate(states))
    return replace(Reading(miner_id="a01", is_hashing=True, boards=boards), **changes)  # type: ignore[arg-type]


def test_a_lost_board_is_worth_what_the_others_earn_by_hand(context: Round) -> None:
    found = repair(context, standing(), reading("hashing", "hashing", "missing"), None, 0.1)
    assert found is not None
    # Two boards bring 90 TH/s at 3000 W; the third 45 TH/s at 1500 W: 45 * 0.05 - 1.5 * 24 * 0.05.
    assert found.gain_usd_per_day[1] == pytest.approx(2.25 - 1.80)
    # One tenth of 2.25 is the deviation of a board's rate.
    assert found.gain_usd_per_day[0] == pytest.approx(0.45 - 1.2815515655 * 0.225)
    assert found.confidence == pytest.approx(0.97725, abs=1e-4)
    assert found.hashrate_ths == pytest.approx(135.0)
    assert any("reseat the cables of board 2" in step for step in found.steps)


def test_a_board_that_costs_more_than_it_earns_is_left(context: Round) -> None:
    dear = replace(context, price_usd_per_kwh=(0.07, 0.07, 0.07))
    assert repair(dear, standing(), reading("hashing", "hashing", "missing"), None, 0.0) is None


def test_a_whole_unit_and_one_asleep_are_left(context: Round) -> None:
    assert repair(context, standing(), reading("hashing", "hashing"), None, 0.0) is None
    asleep = reading("hashing", "missing", is_hashing=False)
    assert repair(context, standing(), asleep, None, 0.0) is None
    assert repair(context, standing(), None, None, 0.0) is None


def test_a_unit_whose_curve_fell_takes_its_gain_from_the_decline(context: Round) -> None:
    decline = Decline(0, -0.10, 0.05, 0.0, (0.3, 0.5, 0.7))
    found = repair(context, standing(), reading("hashing", "hashing"), decline, 0.1)
    assert found is not None
    assert found.gain_usd_per_day == (0.3, 0.5, 0.7)
    assert found.hashrate_ths == pytest.approx(100.0)
    assert found.power_w == pytest.approx(3000.0 / 1.05)
    assert any("power supply" in step for step in found.steps)


def test_a_decline_that_is_not_sure_is_not_told(context: Round) -> None:
    assert repair(context, standing(), None, Decline(0, -0.1, 0.0, 0.0, (-0.1, 0.5, 1.1)), 0.1) is None
    assert repair(context, standing(), None, Decline(0, -0.1, 0.0, 0.0, (0.01, 0.05, 0.09)), 0.1) is None


def test_steps_follow_what_the_unit_says_of_itself(context: Round) -> None:
    faults = (MinerError("110", "fan speed is too low", "critical"),)
    seen = reading("hashing", "hashing", "missing", errors=faults, fan_rpm=(6000.0, 0.0), chip_temp_c=91.0)
    found = repair(context, standing(), seen, None, 0.1)
    assert found is not None
    assert "fans" in found.steps[0]
    assert any(step.startswith("Fan 1 does not turn") for step in found.steps)
    assert any("91 C" in step for step in found.steps)


def test_the_dearest_comes_first_and_unread_units_are_left_out(context: Round) -> None:
    lost = reading("hashing", "missing")
    found = repairs(
        context,
        [standing("small", 50.0, 1000.0), None, standing("large", 100.0, 2000.0)],
        [lost, lost, lost],
        [],
        0.1,
    )
    assert [one.miner_id for one in found] == ["large", "small"]
    assert math.isclose(found[0].gain_usd_per_day[1], 2.0 * found[1].gain_usd_per_day[1])
