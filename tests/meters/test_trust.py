"""Which meters are believed: far off, standing still, silent, and in the middle of a change."""

import numpy as np
import pytest

from agent.errors import DeviceError, Timeout
from agent.meters.fusion import MeterMap
from agent.meters.reader import MeterReadings, Point
from agent.meters.trust import MeterTrust, Verdict
from tests.chain.farms import NOON

NAN = float("nan")
OUTLET = (Point("p/1", "p", ("a",), 0.0, 15_000.0, 1.0),)
CIRCUIT = (Point("c/1", "c", ("a", "b"), 200.0, 30_000.0, 0.0),)
PAIR = (Point("p/1", "p", ("a",), 0.0, 15_000.0, 1.0), Point("p/2", "p", ("b",), 0.0, 15_000.0, 1.0))


class Round:
    """A meter watched over time."""

    def __init__(self, points: tuple[Point, ...]) -> None:
        self.points = points
        self.trust = MeterTrust(points)
        self.chart = MeterMap.of(points, {"a": 0, "b": 1}, 2)

    def __call__(
        self, shown: list[float], own: list[float], age_s: float = 0.0, error: DeviceError | None = None
    ) -> Verdict:
        errors = (error,) * len(self.points)
        age = np.full(len(self.points), age_s)
        readings = MeterReadings(NOON, self.points, np.array(shown), age, errors)
        return self.trust.look(readings, self.chart, np.array(own), max_age_s=45.0)


def test_a_meter_that_agrees_is_believed() -> None:
    found = Round(OUTLET)([3300.0], [3000.0, NAN])
    assert found.net_w.tolist() == [3300.0] and found.findings == ()


def test_a_miner_that_says_nothing_leaves_its_meter_believed() -> None:
    assert Round(OUTLET)([3300.0], [NAN, NAN]).net_w.tolist() == [3300.0]


def test_a_miner_that_says_0_w_is_taken_for_one_that_does_not_know() -> None:
    assert Round(OUTLET)([3300.0], [0.0, NAN]).net_w.tolist() == [3300.0]


@pytest.mark.parametrize("shown", [1199.0, 7501.0])
def test_a_meter_that_never_agreed_is_not_believed_from_the_start(shown: float) -> None:
    found = Round(OUTLET)([shown], [3000.0, NAN])
    assert np.isnan(found.net_w[0])
    (finding,) = found.findings
    assert (finding.key, finding.kind, finding.miners, finding.cleared) == (
        "meter-p/1",
        "absurd",
        ("a",),
        False,
    )
    assert f"shows {shown:.0f} W where its miners say 3000 W" in finding.words


@pytest.mark.parametrize("shown", [1201.0, 7499.0])
def test_just_inside_the_range_is_believed(shown: float) -> None:
    assert Round(OUTLET)([shown], [3000.0, NAN]).net_w[0] == shown


def test_standby_is_not_compared() -> None:
    assert Round(OUTLET)([15.0], [120.0, NAN]).net_w.tolist() == [15.0]


def test_a_meter_that_agreed_before_is_believed_through_a_change() -> None:
    look = Round(OUTLET)
    look([3300.0], [3000.0, NAN])
    # The miner was stopped; its own figure is minutes behind.
    verdicts = [look([80.0 + i], [3000.0, NAN]) for i in range(4)]
    assert [v.net_w[0] for v in verdicts] == [80.0, 81.0, 82.0, 83.0]
    assert all(v.findings == () for v in verdicts)


def test_a_meter_that_stays_absurd_is_believed_no_longer_and_told_once() -> None:
    look = Round(OUTLET)
    look([3300.0], [3000.0, NAN])
    verdicts = [look([80.0 + i], [3000.0, NAN]) for i in range(7)]
    assert [len(v.findings) for v in verdicts] == [0, 0, 0, 0, 1, 0, 0]
    assert np.isnan(verdicts[4].net_w[0])


def test_a_doubted_meter_is_believed_again_after_three_good_rounds() -> None:
    look = Round(OUTLET)
    look([9000.0], [3000.0, NAN])
    verdicts = [look([3300.0 + i], [3000.0, NAN]) for i in range(3)]
    assert [np.isfinite(v.net_w[0]) for v in verdicts] == [False, False, True]
    (finding,) = verdicts[2].findings
    assert finding.cleared and finding.key == "meter-p/1"


def test_a_circuit_is_held_against_the_sum_of_its_miners_without_the_overhead() -> None:
    assert Round(CIRCUIT)([6700.0], [3000.0, 3000.0]).net_w.tolist() == [6500.0]
    assert np.isnan(Round(CIRCUIT)([2500.0], [3000.0, 3000.0]).net_w[0])


def test_a_circuit_with_a_miner_of_unknown_draw_is_not_compared() -> None:
    assert Round(CIRCUIT)([2500.0], [3000.0, NAN]).net_w.tolist() == [2300.0]


def test_a_meter_that_stands_still_while_its_miner_moves_is_stuck() -> None:
    look = Round(OUTLET)
    own = [3000.0, 3050.0, 3100.0, 3150.0, 3200.0, 3250.0]
    verdicts = [look([3245.0], [watts, NAN]) for watts in own]
    assert np.isfinite(verdicts[4].net_w[0]) and np.isnan(verdicts[5].net_w[0])
    (finding,) = verdicts[5].findings
    assert finding.kind == "stuck" and "3000 to 3250 W" in finding.words


def test_a_meter_that_moves_again_is_stuck_no_longer() -> None:
    look = Round(OUTLET)
    for watts in (3000.0, 3050.0, 3100.0, 3150.0, 3200.0, 3250.0):
        look([3245.0], [watts, NAN])
    found = look([3300.0], [3250.0, NAN])
    assert found.net_w.tolist() == [3300.0]
    assert [f.cleared for f in found.findings] == [True]


def test_a_meter_that_stands_still_beside_a_steady_miner_is_believed() -> None:
    look = Round(OUTLET)
    verdicts = [look([3245.0], [3000.0 + i, NAN]) for i in range(10)]
    assert verdicts[-1].net_w.tolist() == [3245.0]


def test_a_coarse_meter_may_stand_still_within_its_grain() -> None:
    coarse = (Point("p/1", "p", ("a",), 0.0, 15_000.0, 100.0),)
    look = Round(coarse)
    verdicts = [look([3200.0], [3000.0 + 50.0 * i, NAN]) for i in range(6)]
    assert verdicts[-1].net_w.tolist() == [3200.0]


def test_an_old_figure_is_not_used() -> None:
    assert np.isnan(Round(OUTLET)([3300.0], [3000.0, NAN], age_s=46.0).net_w[0])


def test_a_figure_of_the_last_round_serves_while_it_is_young() -> None:
    found = Round(OUTLET)([3300.0], [3000.0, NAN], age_s=30.0, error=Timeout("h", "late"))
    assert found.net_w.tolist() == [3300.0]


def test_a_meter_that_is_silent_for_three_rounds_is_one_alert_for_all_its_outlets() -> None:
    look = Round(PAIR)
    down = Timeout("127.62.6.1", "no whole answer")
    verdicts = [look([NAN, NAN], [3000.0, 3000.0], np.inf, down) for _ in range(4)]
    assert [len(v.findings) for v in verdicts] == [0, 0, 1, 0]
    (finding,) = verdicts[2].findings
    assert (finding.key, finding.kind, finding.miners) == ("meter-p", "silent", ("a", "b"))


def test_a_meter_that_answers_again_ends_its_alert() -> None:
    look = Round(PAIR)
    down = Timeout("127.62.6.1", "no whole answer")
    for _ in range(3):
        look([NAN, NAN], [3000.0, 3000.0], np.inf, down)
    (finding,) = look([3300.0, 3300.0], [3000.0, 3000.0]).findings
    assert finding.cleared and finding.key == "meter-p"
