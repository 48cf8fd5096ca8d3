"""A frame lays readings side by side, and never shows an old or impossible value as present."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agent.errors import Timeout
from agent.fleet import COLUMN_NAMES, Unit, build_frame
from agent.hardware.catalogue import Catalogue
from agent.reading import Board, Pool, Reading
from agent.telemetry import PollResult

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
S19 = Catalogue.load().profiles["antminer-s19-pro"]


def unit(miner_id: str = "aa", address: str = "10.0.0.1", profile=S19) -> Unit:
    return Unit(miner_id, address, "antminer-stock", profile, "stock", 110.0, 3250.0)


def polled(
    reading: Reading | None, miner_id: str = "aa", address: str = "10.0.0.1", ago_s: float = 1.0
) -> PollResult:
    at = NOW - timedelta(seconds=ago_s)
    error = None if reading is not None else Timeout(address, "no answer in 10 s")
    return PollResult(miner_id, address, at, at, reading, error)


def columns(reading: Reading, **changes: object) -> dict[str, float]:
    found = build_frame(NOW, [unit(**changes)], [polled(reading)], 60.0)
    return {name: float(values[0]) for name, values in found.columns.items()}


def test_a_frame_has_every_telemetry_column_in_order() -> None:
    found = build_frame(NOW, [unit()], [polled(Reading())], 60.0)
    assert tuple(found.columns) == COLUMN_NAMES
    assert all(values.shape == (1,) and values.dtype == np.float64 for values in found.columns.values())


def test_unknown_is_nan_and_never_zero() -> None:
    found = columns(Reading())
    known = {name for name, value in found.items() if value == value}
    assert known == {"rated_hashrate_ths", "rated_power_w", "boards_expected"}


def test_boards_and_fans_are_summed_up() -> None:
    boards = (
        Board(0, hashrate_ths=36.0, hw_errors=4),
        Board(1, hashrate_ths=0.0, hw_errors=None),
        Board(2, hashrate_ths=35.5, hw_errors=6),
    )
    found = columns(Reading(boards=boards, fan_rpm=(5000.0, 6000.0), is_hashing=True))
    assert (found["boards_hashing"], found["boards_expected"], found["hw_errors"]) == (2.0, 3.0, 10.0)
    assert (found["fan_rpm"], found["is_hashing"]) == (5500.0, 1.0)


def test_the_present_setting_is_a_share_of_rated() -> None:
    assert columns(Reading(work_mode="normal"))["setting_share"] == pytest.approx(1.0)
    assert columns(Reading(work_mode="sleep"))["setting_share"] == 0.0
    assert np.isnan(columns(Reading(work_mode="normal"), profile=None)["setting_share"])


def test_a_failed_poll_leaves_nothing_but_the_rating() -> None:
    found = build_frame(NOW, [unit()], [polled(None)], 60.0)
    assert not found.fresh[0]
    assert np.isnan(found.columns["hashrate_ths"][0])
    assert np.isnan(found.observed_s[0])
    assert found.columns["rated_power_w"][0] == 3250.0


@pytest.mark.parametrize("ago_s", [61.0, -61.0])
def test_a_reading_too_far_from_now_is_not_fresh(ago_s: float) -> None:
    found = build_frame(NOW, [unit()], [polled(Reading(hashrate_ths=100.0), ago_s=ago_s)], 60.0)
    assert not found.fresh[0]
    assert np.isnan(found.columns["hashrate_ths"][0])


@pytest.mark.parametrize("value", [-1.0, 1e9, float("inf"), float("nan"), 10**400])
def test_an_impossible_value_is_unknown(value: float) -> None:
    found = columns(Reading(hashrate_ths=value, shares_accepted=10**400, power_w=3200.0))
    assert np.isnan(found["hashrate_ths"])
    assert np.isnan(found["shares_accepted"])
    assert found["power_w"] == 3200.0


def test_the_source_of_power_stands_only_beside_power() -> None:
    def source(reading: Reading) -> str | None:
        return build_frame(NOW, [unit()], [polled(reading)], 60.0).power_source[0]

    assert source(Reading(power_w=3200.0, power_source="measured")) == "measured"
    assert source(Reading(power_w=-5.0, power_source="measured")) is None


def test_results_find_their_unit_by_id_then_by_address() -> None:
    units = [unit("aa", "10.0.0.1"), unit("bb", "10.0.0.2"), unit("cc", "10.0.0.3")]
    results = [
        polled(Reading(hashrate_ths=3.0), "10.0.0.3", "10.0.0.3"),
        polled(Reading(hashrate_ths=2.0), "bb", "10.9.9.9"),
    ]
    found = build_frame(NOW, units, results, 60.0)
    np.testing.assert_array_equal(found.columns["hashrate_ths"], [np.nan, 2.0, 3.0])


def test_of_two_results_the_newer_one_counts() -> None:
    old, new = polled(Reading(hashrate_ths=1.0), ago_s=30.0), polled(Reading(hashrate_ths=2.0), ago_s=5.0)
    for order in ([old, new], [new, old]):
        assert build_frame(NOW, [unit()], order, 60.0).columns["hashrate_ths"][0] == 2.0


def test_two_miners_behind_one_address_are_not_mixed_up() -> None:
    units = [unit("aa", "10.0.0.1"), unit("bb", "10.0.0.1")]
    found = build_frame(NOW, units, [polled(Reading(hashrate_ths=9.0), "10.0.0.1", "10.0.0.1")], 60.0)
    assert not found.fresh.any()


def test_spread_over_the_boards_needs_two_of_them() -> None:
    boards = (Board(0, chip_temp_c=71.0, board_temp_c=60.0), Board(1, chip_temp_c=78.5), Board(2))
    found = columns(Reading(boards=boards))
    assert found["chip_temp_spread_c"] == 7.5
    assert np.isnan(found["board_temp_spread_c"])


def test_limit_mode_and_difficulty_are_as_reported() -> None:
    pools = (
        Pool("stratum+tcp://a", active=False, difficulty=1024.0),
        Pool("stratum+tcp://b", active=True, difficulty=65536.0),
    )
    reading = Reading(work_mode="normal", power_limit_w=3200.0, power_percent=95.0, pools=pools)
    found = columns(reading)
    assert (found["work_mode_code"], found["power_limit_w"], found["power_percent"]) == (4.0, 3200.0, 95.0)
    assert found["share_difficulty"] == 65536.0
    assert np.isnan(found["hashrate_percent"])


def test_of_several_pools_of_which_none_is_in_use_no_difficulty_is_known() -> None:
    pools = (Pool("stratum+tcp://a", difficulty=1024.0), Pool("stratum+tcp://b", difficulty=65536.0))
    assert np.isnan(columns(Reading(pools=pools))["share_difficulty"])
