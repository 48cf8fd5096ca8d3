"""Every feature of the table, with values that vary: live equals history, and the future changes none."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from agent.features.streaming import FEATURES, FeatureState, batch_features_exact, feature_names
from agent.fleet import Unit
from agent.hardware.catalogue import Catalogue
from agent.money.conditions import MARKET_COLUMNS, Conditions
from tests.features.fleets import START_S, Row, frame, lively, table

KEYS = ("whatsminer-m20s", "antminer-s21-hyd")
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
Rows = list[tuple[str, float, Row]]


def fleet() -> tuple[Unit, ...]:
    """Two units of another make, cooling and rating each."""
    units = []
    for i, key in enumerate(KEYS):
        profile = Catalogue.load().profiles[key]
        rated = (profile.rated_hashrate_ths.value, profile.rated_power_w.value)
        units.append(Unit(f"m{i}", f"10.0.0.{i}", None, profile, "stock", *rated))
    return tuple(units)


FLEET = fleet()


def readings(rng: np.random.Generator, count: int) -> Rows:
    """Every column of telemetry, with gaps of minutes to a day, restarts and fields lost now and then."""
    rows: Rows = []
    for unit in FLEET:
        gaps = rng.choice([20.0, 300.0, 300.0, 300.0, 900.0, 3600.0, 90_000.0], size=count, p=_GAPS)
        times = [START_S + float(t) for t in np.cumsum(gaps)]
        stale = 0.0
        for at, values in zip(times, lively(rng, times), strict=True):
            share = values["power_limit_w"] / 3000.0
            stale = 0.0 if values["shares_accepted"] < 40.0 else stale + float(rng.integers(0, 2))
            more = {
                "hashrate_avg_ths": 90.0 * rng.normal(1.0, 0.02),
                "hashrate_expected_ths": 95.0 * rng.normal(1.0, 0.01),
                "board_temp_c": 60.0 + rng.normal(),
                "inlet_temp_c": 25.0 + rng.normal() if rng.random() < 0.7 else float("nan"),
                "voltage_v": 12.0 + 0.1 * rng.normal(),
                "frequency_mhz": 500.0 + rng.normal(),
                "power_percent": 100.0 * share,
                "hashrate_percent": 90.0 + float(rng.integers(0, 10)),
                "shares_stale": stale,
                "rated_hashrate_ths": unit.rated_hashrate_ths,
                "rated_power_w": unit.rated_power_w,
            }
            rows.append((unit.miner_id, at, values | more))
    return rows


_GAPS = (0.1, 0.3, 0.25, 0.2, 0.09, 0.055, 0.005)


def conditions(at_s: float) -> Conditions:
    """A market that moves with time."""
    turn = np.sin(at_s / 40_000.0)
    return Conditions(
        datetime.fromtimestamp(at_s, UTC),
        **{name: 0.05 * (2.0 + i + turn) for i, name in enumerate(MARKET_COLUMNS)},
    )


def history(rows: Rows) -> dict[str, np.ndarray]:
    """The rows as a table with their models and the market of their time."""
    columns = table(rows)
    market = [conditions(at) for _, at, _ in rows]
    models = {unit.miner_id: unit.profile.key for unit in FLEET if unit.profile is not None}
    return columns | {
        "model": np.array([models[miner] for miner, _, _ in rows]),
        **{name: np.array([getattr(one, name) for one in market]) for name in MARKET_COLUMNS},
    }


def live(rows: Rows) -> np.ndarray:
    """Features of each row as the agent computes them at its moment."""
    state = FeatureState()
    out = np.empty((len(rows), len(FEATURES)))
    for at in sorted({at for _, at, _ in rows}):
        here = [(i, miner, values) for i, (miner, when, values) in enumerate(rows) if when == at]
        now = frame(at, FLEET, {miner: (at, values) for _, miner, values in here})
        state.observe(now, conditions(at))
        found = state.compute_exact(now, conditions(at))
        for i, miner, _ in here:
            out[i] = found[int(miner[1:])]
    return out


@pytest.fixture(scope="module")
def rows() -> Rows:
    return readings(np.random.default_rng(21), 350)


def test_each_has_values_that_vary(rows: Rows) -> None:
    found = batch_features_exact(history(rows))
    dull = [
        name
        for j, name in enumerate(feature_names())
        if len(np.unique(found[np.isfinite(found[:, j]), j])) < 2
    ]
    assert dull == []


def test_each_is_the_same_live_and_in_history(rows: Rows) -> None:
    found, expected = live(rows), batch_features_exact(history(rows))
    for j, name in enumerate(feature_names()):
        np.testing.assert_allclose(found[:, j], expected[:, j], err_msg=name, **CLOSE)


def test_each_is_the_same_once_late_and_repeated_readings_have_come(rows: Rows) -> None:
    own = [row for row in rows if row[0] == "m0"][:250]
    rng = np.random.default_rng(22)
    # Up to an hour late, and every tenth twice; the newest comes last.
    arrival = [
        (at + (rng.uniform(0.0, 3600.0) if rng.random() < 0.3 else 0.0), row)
        for row in own
        for at in [row[1]]
    ]
    arrival += [(when + rng.uniform(0.0, 600.0), row) for when, row in arrival if rng.random() < 0.1]
    state, newest = FeatureState(), 0.0
    for when, (miner, at, values) in sorted(arrival, key=lambda item: item[0]):
        newest = max(newest, when)
        state.observe(frame(newest, FLEET, {miner: (at, values)}), conditions(newest))
    end = max(newest, own[-1][1])
    last = ("m0", end, dict(own[-1][2]))
    final = frame(end, FLEET, {"m0": (end, last[2])})
    state.observe(final, conditions(end))
    expected = batch_features_exact(history([*own, last] if end > own[-1][1] else own))[-1]
    found = state.compute_exact(final, conditions(end))[0]
    for j, name in enumerate(feature_names()):
        np.testing.assert_allclose(found[j], expected[j], err_msg=name, **CLOSE)


def test_none_changes_when_the_future_is_shifted_and_altered(rows: Rows) -> None:
    cut = sorted(at for _, at, _ in rows)[len(rows) // 2]
    past = [row for row in rows if row[1] <= cut]
    future = [
        (miner, at + 7777.0, {name: 1.7 * value for name, value in values.items()})
        for miner, at, values in rows
        if at > cut
    ]
    told = [i for i, row in enumerate(rows) if row[1] <= cut]
    whole = batch_features_exact(history(rows))[told]
    np.testing.assert_array_equal(batch_features_exact(history(past + future))[: len(past)], whole)
    np.testing.assert_array_equal(batch_features_exact(history(past)), whole)
