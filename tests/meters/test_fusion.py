"""From meters and miners to one figure of power each; every expected figure is worked out by hand."""

from datetime import timedelta

import numpy as np
import pytest

from agent.errors import InputError, Timeout
from agent.meters.fusion import Fused, MeterMap, fuse, net_power, own_figures, with_power
from agent.meters.reader import MeterReadings, Point
from agent.reading import Reading
from agent.telemetry import PollResult
from tests.chain.farms import NOON

NAN = float("nan")
NAMES = ("a", "b", "c", "d")
ROWS = {name: i for i, name in enumerate(NAMES)}


def point(key: str, *miners: str, overhead: float = 0.0) -> Point:
    return Point(key, key.split("/")[0], miners, overhead, 1e6, 0.0)


def chart(*points: Point) -> MeterMap:
    return MeterMap.of(points, ROWS, len(NAMES))


def go(
    points: list[Point],
    net: list[float],
    own: list[float],
    *,
    read: list[bool] | None = None,
    ratio: list[float] | None = None,
    modelled: list[float] | None = None,
    of_kind: list[float] | None = None,
) -> Fused:
    source = np.array(["measured" if w == w else None for w in own], dtype=object)
    return fuse(
        np.array(own),
        source,
        np.array(read or [True] * 4),
        np.array(net),
        chart(*points),
        np.array(ratio or [NAN] * 4),
        np.array(modelled or [NAN] * 4),
        None if of_kind is None else np.array(of_kind),
    )


def test_an_outlet_is_the_truth_for_its_miner() -> None:
    found = go([point("p/1", "a")], [3300.0], [3000.0, 3100.0, NAN, NAN])
    np.testing.assert_array_equal(found.power_w, [3300.0, 3100.0, NAN, NAN])
    assert found.source.tolist() == ["metered", "measured", None, None]


def test_an_outlet_gives_watts_to_a_miner_that_reports_none() -> None:
    found = go([point("p/1", "c")], [3300.0], [NAN] * 4)
    assert (found.power_w[2], found.source[2]) == (3300.0, "metered")


def test_a_silent_outlet_leaves_the_miners_own_figure() -> None:
    found = go([point("p/1", "a")], [NAN], [3000.0, NAN, NAN, NAN])
    assert (found.power_w[0], found.source[0]) == (3000.0, "measured")


def test_a_silent_outlet_leaves_the_corrected_figure_where_the_offset_is_known() -> None:
    found = go([point("p/1", "a")], [NAN], [3000.0, 3000.0, NAN, NAN], ratio=[1.08, 1.08, NAN, NAN])
    # The second miner has no meter at all: it is not touched.
    assert found.power_w[:2].tolist() == [pytest.approx(3240.0), 3000.0]
    assert found.source[:2].tolist() == ["reported-corrected", "measured"]


def test_a_circuit_is_shared_in_proportion_to_what_its_miners_report() -> None:
    found = go([point("c/1", "a", "b", "c")], [9900.0], [2000.0, 3000.0, 4000.0, NAN])
    np.testing.assert_allclose(found.power_w[:3], [2200.0, 3300.0, 4400.0])
    assert found.source[:3].tolist() == ["metered-circuit"] * 3


def test_shares_are_of_corrected_figures() -> None:
    found = go([point("c/1", "a", "b")], [6300.0], [3000.0, 3000.0, NAN, NAN], ratio=[1.1, 1.0, NAN, NAN])
    np.testing.assert_allclose(found.power_w[:2], [3300.0, 3000.0])


def test_miners_that_report_nothing_share_by_what_is_expected_of_them() -> None:
    found = go([point("c/1", "a", "b")], [6600.0], [NAN] * 4, modelled=[3250.0, 3350.0, NAN, NAN])
    np.testing.assert_allclose(found.power_w[:2], [3250.0, 3350.0])
    assert not found.compared.any()


def test_a_circuit_with_a_miner_that_was_not_read_is_not_shared() -> None:
    own = [3000.0, 3000.0, NAN, NAN]
    found = go([point("c/1", "a", "b")], [6300.0], own, read=[True, False, True, True])
    assert found.power_w[:2].tolist() == [3000.0, 3000.0]
    assert found.source[:2].tolist() == ["measured", "measured"]


def test_a_circuit_with_a_miner_of_unknown_draw_is_not_shared() -> None:
    found = go([point("c/1", "a", "b")], [6300.0], [3000.0, NAN, NAN, NAN])
    assert found.source[:2].tolist() == ["measured", None]
    assert np.isnan(found.power_w[1])


def test_outlets_are_taken_off_before_the_rest_of_the_circuit_is_shared() -> None:
    points = [point("p/1", "a"), point("c/1", "a", "b", "c")]
    found = go(points, [3300.0, 9300.0], [3000.0, 1000.0, 2000.0, NAN])
    np.testing.assert_allclose(found.power_w[:3], [3300.0, 2000.0, 4000.0])
    assert found.source[:3].tolist() == ["metered", "metered-circuit", "metered-circuit"]


def test_an_unread_miner_with_an_outlet_does_not_keep_its_circuit_from_being_shared() -> None:
    points = [point("p/1", "a"), point("c/1", "a", "b")]
    found = go(points, [3300.0, 6600.0], [NAN, 3000.0, NAN, NAN], read=[False, True, True, True])
    assert (found.power_w[1], found.source[1]) == (pytest.approx(3300.0), "metered-circuit")


def test_outlets_that_add_up_to_more_than_the_circuit_leave_nothing_and_not_less() -> None:
    points = [point("p/1", "a"), point("c/1", "a", "b")]
    found = go(points, [3300.0, 3200.0], [3000.0, 50.0, NAN, NAN])
    assert found.power_w[1] == 0.0


def test_only_figures_that_stand_against_the_miners_own_are_compared() -> None:
    points = [point("p/1", "a"), point("p/2", "b"), point("c/1", "c", "d")]
    modelled = [NAN, NAN, NAN, 3000.0]
    found = go(points, [3300.0, 3300.0, 6000.0], [3000.0, NAN, 3000.0, NAN], modelled=modelled)
    # b reports nothing; c shares with d, whose part is only expected.
    assert found.compared.tolist() == [True, False, False, False]


def test_overhead_is_taken_off_and_never_leaves_less_than_nothing() -> None:
    points = (point("c/1", "a", "b", overhead=200.0), point("c/2", "c", "d", overhead=200.0))
    shown = np.array([6200.0, 150.0])
    readings = MeterReadings(NOON, points, shown, np.zeros(2), (None, None))
    net = net_power(readings, chart(*points), np.array([True, True]))
    assert net.tolist() == [6000.0, 0.0]


def test_a_point_that_is_not_usable_has_no_net_power() -> None:
    points = (point("p/1", "a"),)
    readings = MeterReadings(NOON, points, np.array([3000.0]), np.zeros(1), (Timeout("x", "y"),))
    assert np.isnan(net_power(readings, chart(*points), np.array([False])))[0]


def test_a_site_without_meters_stays_as_reported() -> None:
    found = go([], [], [3000.0, NAN, 12.0, NAN])
    np.testing.assert_array_equal(found.power_w, [3000.0, NAN, 12.0, NAN])
    assert found.source.tolist() == ["measured", None, "measured", None]


def test_a_point_of_an_unknown_miner_is_refused() -> None:
    with pytest.raises(InputError, match=r"p/1: no miner .* ghost"):
        chart(point("p/1", "ghost"))


def result(reading: Reading | None) -> PollResult:
    error = None if reading is not None else Timeout("127.62.5.1", "no answer")
    return PollResult("a", "127.62.5.1", NOON, NOON + timedelta(seconds=1), reading, error)


def test_results_carry_the_power_that_was_found_and_nothing_else_changes() -> None:
    before = [
        result(Reading(power_w=3000.0, power_source="firmware_estimate", hashrate_ths=100.0)),
        result(Reading(hashrate_ths=90.0)),
        result(None),
        result(Reading(power_w=2900.0, power_source="measured")),
    ]
    own, source, read = own_figures(before)
    net = np.array([3300.0, 3100.0, 3200.0])
    points = [point("p/1", "a"), point("p/2", "b"), point("p/3", "c")]
    nothing = np.full(4, NAN)
    found = with_power(before, fuse(own, source, read, net, chart(*points), nothing, nothing))
    readings = [r.reading for r in found]
    assert [(r.power_w, r.power_source, r.hashrate_ths) if r else None for r in readings] == [
        (3300.0, "metered", 100.0),
        (3100.0, "metered", 90.0),
        None,
        (2900.0, "measured", None),
    ]
    assert found[2] is before[2] and found[3] is before[3]


def test_a_thousand_circuits_of_five_are_fused_as_one_by_one() -> None:
    rng = np.random.default_rng(1)
    count = 5000
    names = [f"m{i}" for i in range(count)]
    points = [Point(f"c/{k}", "c", tuple(names[5 * k : 5 * k + 5]), 0.0, 1e6, 0.0) for k in range(1000)]
    big = MeterMap.of(points, {name: i for i, name in enumerate(names)}, count)
    own = rng.uniform(2000.0, 3600.0, count)
    net = own.reshape(1000, 5).sum(axis=1) * 1.07
    source = np.full(count, "measured", dtype=object)
    nothing = np.full(count, NAN)
    found = fuse(own, source, np.ones(count, dtype=np.bool_), net, big, nothing, nothing)
    np.testing.assert_allclose(found.power_w, own * 1.07)


def test_a_miner_without_a_meter_is_corrected_by_others_of_its_kind() -> None:
    found = go([], [], [3000.0, 3000.0, NAN, 3000.0], of_kind=[1.08, NAN, 1.08, 1.02])
    np.testing.assert_allclose(found.power_w, [3240.0, 3000.0, NAN, 3060.0])
    assert found.source.tolist() == ["reported-corrected", "measured", None, "reported-corrected"]
