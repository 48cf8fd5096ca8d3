"""By how much each miner's own reading is off: learned slowly, kept, never thrown by one sample."""

import json

import numpy as np
import pytest

from agent.errors import DataError
from agent.meters.fusion import Floats, Fused
from agent.meters.offset import NEEDED, Offsets, ratio_of_kind

NAN = float("nan")


def metered(*watts: float) -> Fused:
    power = np.array(watts)
    return Fused(power, np.full(len(watts), "metered", dtype=object), np.isfinite(power))


def teach(offsets: Offsets, own: list[float], wall: list[float], rounds: int) -> Offsets:
    for _ in range(rounds):
        offsets.learn(np.array(own), metered(*wall))
    return offsets


def taught() -> Offsets:
    return teach(Offsets(["a", "b"]), [3000.0, 3000.0], [3240.0, 2880.0], NEEDED + 1)


def test_nothing_is_known_before_15_samples() -> None:
    # The first round only shows whether the miner is steady.
    offsets = teach(Offsets(["a"]), [3000.0], [3240.0], NEEDED)
    assert np.isnan(offsets.ratio[0]) and offsets.words(0) is None
    teach(offsets, [3000.0], [3240.0], 1)
    assert offsets.ratio[0] == pytest.approx(1.08)


def test_the_offset_is_shown_in_words() -> None:
    offsets = taught()
    # 3000 of 3240 W is 7.4 % low; 3000 of 2880 W is 4.2 % high.
    assert offsets.words(0) == "own reading 7.4 % low"
    assert offsets.words(1) == "own reading 4.2 % high"
    np.testing.assert_allclose(offsets.off_percent, [-7.407, 4.167], atol=0.001)


def test_wild_samples_at_the_start_do_not_move_the_median() -> None:
    offsets = Offsets(["a"])
    teach(offsets, [3000.0], [6000.0], 6)
    teach(offsets, [3000.0], [3240.0], NEEDED)
    assert offsets.ratio[0] == pytest.approx(1.08)


def test_one_wild_sample_later_moves_it_by_less_than_a_tenth_of_a_percent() -> None:
    offsets = taught()
    teach(offsets, [3000.0, 3000.0], [5000.0, 2880.0], 2)
    assert offsets.ratio[0] == pytest.approx(1.08, rel=1e-3)


def test_a_lasting_change_is_followed() -> None:
    offsets = taught()
    teach(offsets, [3000.0, 3000.0], [3000.0, 2880.0], 150)
    assert offsets.ratio[0] == pytest.approx(1.0, abs=0.002)


def test_a_miner_in_the_middle_of_a_change_teaches_nothing() -> None:
    offsets = Offsets(["a"])
    for i in range(40):
        offsets.learn(np.array([3000.0 * (1.05 if i % 2 else 1.0)]), metered(3240.0))
    assert offsets.samples[0] == 0


def test_standby_teaches_nothing() -> None:
    offsets = teach(Offsets(["a"]), [150.0], [160.0], 40)
    assert offsets.samples[0] == 0


def test_the_ratio_is_bounded() -> None:
    offsets = teach(Offsets(["a", "b"]), [1000.0, 1000.0], [1900.0, 450.0], NEEDED + 1)
    assert offsets.ratio.tolist() == [1.6, 0.5]


def test_a_miner_without_a_meter_learns_nothing() -> None:
    offsets = teach(Offsets(["a"]), [3000.0], [NAN], 40)
    assert np.isnan(offsets.ratio[0])


def test_what_was_learned_survives_a_restart() -> None:
    before = taught()
    after = Offsets.from_bytes(before.to_bytes(), ["b", "new", "a"])
    np.testing.assert_allclose(after.ratio, [before.ratio[1], NAN, before.ratio[0]], atol=1e-5)


def test_half_learned_offsets_survive_too() -> None:
    before = teach(Offsets(["a"]), [3000.0], [3240.0], 8)
    after = Offsets.from_bytes(before.to_bytes(), ["a"])
    assert after.samples[0] == 7
    teach(after, [3000.0], [3240.0], NEEDED - 7 + 1)
    assert after.ratio[0] == pytest.approx(1.08, abs=1e-4)


def test_a_miner_that_is_away_for_a_while_keeps_its_offset() -> None:
    offsets = taught()
    offsets.align(["10.0.0.7"])
    assert np.isnan(offsets.ratio[0])
    offsets.align(["b", "a"])
    np.testing.assert_allclose(offsets.ratio, [0.96, 1.08], atol=1e-5)


def test_following_the_fleet_loses_no_round() -> None:
    offsets = teach(Offsets(["a"]), [3000.0], [3240.0], 3)
    offsets.align(["a", "b"])
    offsets.learn(np.array([3000.0, 3000.0]), metered(3240.0, 3240.0))
    assert offsets.samples.tolist() == [3, 0]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"version":2,"miners":{}}',
        b'{"version":1,"miners":[]}',
        b'{"version":1,"miners":{"a":[20,9.0,0.01]}}',
        b'{"version":1,"miners":{"a":[20,NaN,0.01]}}',
        b'{"version":1,"miners":{"a":[3,[0.1,0.1]]}}',
        b'{"version":1,"miners":{"a":[true,0.1,0.01]}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_store_is_refused(raw: bytes) -> None:
    with pytest.raises(DataError):
        Offsets.from_bytes(raw, ["a"])


def test_the_stored_form_is_small() -> None:
    ids = [f"m{i}" for i in range(5000)]
    offsets = Offsets(ids)
    own: Floats = np.full(5000, 3000.0)
    for _ in range(NEEDED + 1):
        offsets.learn(own, metered(*np.full(5000, 3240.0)))
    assert len(offsets.to_bytes()) < 250_000
    assert json.loads(offsets.to_bytes())["miners"]["m0"] == [15, 0.076961, 0.005]


def test_three_of_a_kind_tell_what_the_others_are_off_by() -> None:
    nan = float("nan")
    kinds = ["a", "a", "a", "a", "b", "b", "b"]
    found = ratio_of_kind(kinds, np.array([1.02, 1.04, 1.50, nan, 1.1, 1.1, nan]))
    np.testing.assert_allclose(found, [1.04] * 4 + [nan] * 3)
