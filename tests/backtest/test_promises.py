"""What was promised of a change against what came, with the money worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.backtest.beliefs import TrueCurves
from simulator.backtest.foresee import TruePrices
from simulator.backtest.ledger import go
from simulator.backtest.planned import Planned, PlanOptions
from simulator.backtest.promises import Promises, kept
from tests.backtest.making import scene

STOP, NOMINAL = 0, 2


def promised(step: int, before: int, after: int, lasts: int, gain: tuple[float, float, float]) -> Promises:
    one = np.ones(1, dtype=np.int64)
    return Promises(
        [step * one],
        [0 * one],
        [before * one],
        [after * one],
        [lasts * one],
        [np.array([gain])],
        [0.97 * one],
    )


def path(*settings: int) -> np.ndarray:
    return np.array([settings], dtype=np.int64)


def test_a_stop_brings_what_running_would_have_lost() -> None:
    # 100 TH/s at 0.24 USD/TH/day earn 1 USD/h; 3 kW at 1 USD/kWh cost 3. Two hours saved: 4 USD, 48 a day.
    made = scene([1.0, 1.0, 0.1, 0.1])
    gone = path(STOP, STOP, STOP, STOP)
    found = kept(made, gone, promised(0, NOMINAL, STOP, 2, (40.0, 44.0, 47.0)))
    assert found is not None
    assert found["came_usd_per_day"] == pytest.approx(48.0)
    assert (found["changes"], found["inside_q10_q90"], found["below_q10"]) == (1, 0.0, 0.0)
    assert found["positive"] == 1.0 and found["confidence"] == pytest.approx(0.97)


def test_waking_pays_for_its_restart() -> None:
    # 1 - 0.3 USD/h for two hours, less a quarter of an hour of hashing: 1.15 USD, 13.8 a day.
    made = scene([1.0, 1.0, 0.1, 0.1])
    found = kept(made, path(STOP, STOP, NOMINAL, NOMINAL), promised(2, STOP, NOMINAL, 2, (10.0, 14.0, 16.0)))
    assert found is not None
    assert found["came_usd_per_day"] == pytest.approx(13.8)
    assert found["inside_q10_q90"] == 1.0


def test_what_a_limit_forbade_and_what_has_no_end_yet_are_left_out() -> None:
    made = scene([1.0, 1.0, 0.1, 0.1])
    stays = path(NOMINAL, NOMINAL, NOMINAL, NOMINAL)
    assert kept(made, stays, promised(0, NOMINAL, STOP, 2, (1.0, 2.0, 3.0))) is None
    assert kept(made, path(STOP, STOP, STOP, STOP), promised(0, NOMINAL, STOP, 5, (1.0, 2.0, 3.0))) is None
    assert kept(made, stays, Promises()) is None


def test_with_everything_known_what_is_promised_comes() -> None:
    rng = np.random.default_rng(3)
    made = scene(rng.uniform(0.1, 0.6, 96).tolist(), hold=2)
    policy = Planned("x", TrueCurves, TruePrices, PlanOptions(minimum_gain_usd_per_day=0.0))
    found = kept(made, go(made, policy).path, policy.promises)
    assert found is not None and found["changes"] > 10
    assert found["promised_usd_per_day"] == pytest.approx(found["came_usd_per_day"], rel=0.01)
    assert found["positive"] == 1.0
    assert sum(band["changes"] for band in found["by_confidence"]) == found["changes"]
