"""Units whose curve fell: found when it lasts, not when it is summer, a setting or a bad day."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from agent.features.inputs import nominal_hashrate_share
from agent.learning.decline import BaselineState, Decline, declines, follow, fresh_baselines

DAY_S = 86400.0
HASHPRICE, PRICE = (0.04, 0.05, 0.06), (0.05, 0.05, 0.05)


@dataclass
class Watch:
    """Two units of 100 TH/s and 3 kW, read every hour."""

    state: BaselineState = field(default_factory=lambda: fresh_baselines(2))
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.rate = self.power = np.full(2, np.nan)

    def run(
        self,
        days: float,
        rate: float = 1.0,
        power: float = 1.0,
        share: float = 1.0,
        temp_c: float = 25.0,
        usable: bool = True,
    ) -> Watch:
        """The first unit is off by `rate` and `power`, the second never."""
        ones, first = np.ones(2), np.array([1.0, 0.0])
        for _ in range(round(days * 24)):
            noise = np.exp(0.005 * self.rng.standard_normal((2, 2)))
            at = share * ones
            self.rate = 100.0 * nominal_hashrate_share(at) * (1.0 + (rate - 1.0) * first) * noise[0]
            self.power = 3000.0 * at * (1.0 + (power - 1.0) * first) * noise[1]
            if temp_c != 25.0:
                self.power = self.power * np.exp(0.0025 * (temp_c - 25.0))
            self.state = follow(
                self.state,
                at,
                self.rate,
                self.power,
                100.0 * ones,
                3000.0 * ones,
                temp_c * ones,
                self.now_s,
                (ones > 0.0) & usable,
            )
            self.now_s += 3600.0
        return self

    def found(self) -> list[Decline]:
        return list(declines(self.state, self.rate, self.power, HASHPRICE, PRICE, self.now_s))


def test_a_lasting_fall_is_found_with_what_repair_earns() -> None:
    found = Watch().run(20).run(8, rate=0.92).found()
    assert [decline.row for decline in found] == [0]
    assert found[0].hashrate_share == pytest.approx(-0.08, abs=0.005)
    low, middle, high = found[0].gain_usd_per_day
    assert middle == pytest.approx(8.0 * 0.05, rel=0.05)
    assert low < middle < high
    # Hashprice alone is uncertain by a fifth.
    assert low == pytest.approx(0.8 * middle, rel=0.1)


def test_more_power_for_the_same_hashrate_is_a_fall_too() -> None:
    found = Watch().run(20).run(8, power=1.06).found()
    assert [decline.row for decline in found] == [0]
    assert found[0].gain_usd_per_day[1] == pytest.approx(180.0 * 0.024 * 0.05, rel=0.1)
    assert re.search(r"draws [56]\.\d% more than it used to \(\+[56]\.\d% J/TH\)", found[0].words)


def test_a_healthy_unit_is_left_alone() -> None:
    assert Watch().run(60).found() == []


def test_a_bad_day_is_no_fall() -> None:
    assert Watch().run(20).run(1, rate=0.9).run(4).found() == []


def test_it_must_last() -> None:
    watch = Watch().run(20).run(2, rate=0.9)
    assert watch.found() == []
    assert len(watch.run(3, rate=0.9).found()) == 1


def test_another_setting_is_no_fall() -> None:
    watch = Watch().run(20).run(10, share=0.7, rate=0.95)
    # What it does at a setting that it was never seen at is how it is there.
    assert watch.found() == []
    assert len(watch.run(8, share=0.7, rate=0.88).found()) == 1


def test_summer_is_no_fall() -> None:
    assert Watch().run(20).run(15, temp_c=38.0).found() == []


def test_a_repaired_unit_is_named_no_more() -> None:
    assert Watch().run(20).run(8, rate=0.9).run(4).found() == []


def test_a_fall_does_not_become_the_level() -> None:
    found = Watch().run(20).run(90, rate=0.92).found()
    assert found[0].hashrate_share == pytest.approx(-0.08, abs=0.005)


def test_a_slow_fall_is_found_in_time() -> None:
    watch = Watch().run(20)
    for day in range(60):
        watch.run(1, rate=1.0 - 0.001 * day)
    assert [decline.row for decline in watch.found()] == [0]


def test_a_unit_that_is_stopped_is_not_named() -> None:
    watch = Watch().run(20).run(8, rate=0.9)
    watch.rate = np.array([0.0, np.nan])
    assert watch.found() == []


def test_a_unit_seen_for_two_days_has_no_earlier_level() -> None:
    assert Watch().run(2).run(5, rate=0.9).found() == []


def test_readings_that_do_not_count_change_nothing() -> None:
    watch = Watch().run(20)
    before = watch.state
    watch.run(10, rate=0.5, usable=False)
    np.testing.assert_array_equal(before.away, watch.state.away)
