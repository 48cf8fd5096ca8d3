"""Training rows say what was known and what came of it, and know nothing of the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.errors import DataError
from tests.trainer.synthetic import START_S, fleet, market, prices
from trainer.dataset import LEAD_S, SETTLE_S, Dataset, build_dataset
from trainer.lake import Telemetry

CUT_S = START_S + 3 * 86400.0


def rows_of(telemetry: Telemetry) -> Dataset:
    return build_dataset(telemetry, market(), prices(), np.random.default_rng(0))


@pytest.fixture(scope="module")
def telemetry() -> Telemetry:
    return fleet(days=5, units_per_model=2)[0]


def test_another_future_changes_no_feature_of_the_past(telemetry: Telemetry) -> None:
    late = telemetry.at_s > CUT_S
    columns = {name: values.copy() for name, values in telemetry.columns.items()}
    for name in ("hashrate_ths", "power_w", "chip_temp_c", "inlet_temp_c", "shares_accepted"):
        columns[name][late] *= 1.2
    before, after = rows_of(telemetry), rows_of(replace(telemetry, columns=columns))
    for one in (before, after):
        assert (one.at_s <= CUT_S).sum() > 100
    np.testing.assert_array_equal(before.features[before.at_s <= CUT_S], after.features[after.at_s <= CUT_S])


def test_another_future_changes_no_target_of_a_window_that_is_over(telemetry: Telemetry) -> None:
    columns = dict(telemetry.columns)
    columns["hashrate_ths"] = np.where(telemetry.at_s > CUT_S, 1.0, 1.0) * columns["hashrate_ths"]
    columns["hashrate_ths"][telemetry.at_s > CUT_S] *= 0.7
    before, after = rows_of(telemetry), rows_of(replace(telemetry, columns=columns))
    over = before.end_s <= CUT_S
    np.testing.assert_array_equal(before.hashrate_ths[over], after.hashrate_ths[after.end_s <= CUT_S])


def test_the_window_opens_after_the_moment_of_decision(telemetry: Telemetry) -> None:
    rows = rows_of(telemetry)
    assert (rows.end_s - rows.at_s >= 3599.0).all()
    assert (rows.end_s[rows.changed] - rows.at_s[rows.changed] >= 3599.0 + SETTLE_S).all()


def test_a_row_on_the_eve_of_a_change_learns_what_the_new_setting_brought(telemetry: Telemetry) -> None:
    rows = rows_of(telemetry)
    moved = rows.rows(rows.changed)
    present = moved.column("setting_share")
    assert (np.abs(present - moved.share) > 0.05).all()
    unit, at = moved.unit[0], moved.at_s[0]
    own = (telemetry.unit == unit) & (telemetry.at_s > at) & (telemetry.at_s <= at + LEAD_S + 1)
    assert moved.share[0] in telemetry.columns["setting_share"][own]


def test_medians_are_those_of_the_settled_stretch(telemetry: Telemetry) -> None:
    rows = rows_of(telemetry)
    i = int(np.flatnonzero(rows.changed)[5])
    own = telemetry.unit == rows.unit[i]
    share, at = telemetry.columns["setting_share"][own], telemetry.at_s[own]
    change = at[(at > rows.at_s[i]) & (share == rows.share[i])][0]
    window = (at > change + SETTLE_S) & (at <= rows.end_s[i])
    assert rows.power_w[i] == pytest.approx(np.median(telemetry.columns["power_w"][own][window]))


def test_rejected_and_stale_shares_are_taken_off_the_effective_rate(telemetry: Telemetry) -> None:
    rows = rows_of(telemetry)
    # 0.4 % rejected and 0.2 % stale of what was accepted.
    assert np.median(rows.effective) == pytest.approx(1.0 - 0.006 / 1.006, abs=0.002)


def test_a_stop_is_no_candidate(telemetry: Telemetry) -> None:
    columns = dict(telemetry.columns)
    stopped = (telemetry.at_s > START_S + 86400.0) & (telemetry.at_s < START_S + 2 * 86400.0)
    columns["setting_share"] = np.where(stopped, 0.0, columns["setting_share"])
    assert (rows_of(replace(telemetry, columns=columns)).share > 0.5).all()


def test_unknown_power_stays_unknown(telemetry: Telemetry) -> None:
    columns = dict(telemetry.columns) | {"power_w": np.full(len(telemetry.at_s), np.nan)}
    rows = rows_of(replace(telemetry, columns=columns))
    assert np.isnan(rows.power_w).all()
    assert np.isfinite(rows.hashrate_ths).all()


def test_telemetry_without_a_single_settled_hour_is_refused(telemetry: Telemetry) -> None:
    columns = dict(telemetry.columns) | {"hashrate_ths": np.zeros(len(telemetry.at_s))}
    with pytest.raises(DataError, match="no stretch of 1 h"):
        rows_of(replace(telemetry, columns=columns))
