"""An act counts when telemetry shows it: agreement, disagreement, silence and noise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.acting.confirm import READINGS_TO_JUDGE, Observation, judge, within
from agent.records import Act, Expectation, Interval, SettingRecord
from agent.setting import Setting

SENT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TARGET = Setting.parse("power_limit_w=3000")


def act(target: Setting = TARGET) -> Act:
    return Act(
        id="a1",
        recommendation_id="r1",
        site_id="s",
        miner_id="m",
        status="sent",
        reason="test",
        approved_by="test",
        before=SettingRecord.of(Setting.parse("power_limit_w=3400")),
        target=SettingRecord.of(target),
        expected=Expectation(
            hashrate_ths=Interval(q10=97, q50=100, q90=103),
            power_w=Interval(q10=2900, q50=3000, q90=3100),
            profit_usd_per_day=Interval(q10=1, q50=2, q90=3),
        ),
        settle_s=600,
        intended_at=SENT,
        sent_at=SENT,
        confirm_by=SENT + timedelta(minutes=15),
    )


def readings(
    rate: float | None = 100.0,
    power: float | None = 3000.0,
    setting: Setting | None = TARGET,
    hashing: bool | None = True,
    count: int = READINGS_TO_JUDGE,
) -> list[Observation]:
    return [
        Observation(SENT + timedelta(seconds=30 * (i + 1)), rate, rate, power, hashing, setting)
        for i in range(count)
    ]


EARLY, LATE = SENT + timedelta(minutes=5), SENT + timedelta(minutes=16)


def test_agreement_confirms_before_the_deadline() -> None:
    verdict = judge(act(), readings(), EARLY)
    assert (verdict.kind, verdict.hashrate_ths, verdict.power_w) == ("confirmed", 100.0, 3000.0)


def test_too_few_readings_say_nothing() -> None:
    assert judge(act(), readings(count=READINGS_TO_JUDGE - 1), EARLY).kind == "wait"


def test_readings_from_before_the_command_do_not_count() -> None:
    old = [
        Observation(SENT - timedelta(seconds=30 * i), 100.0, 100.0, 3000.0, True, TARGET)
        for i in range(READINGS_TO_JUDGE)
    ]
    assert judge(act(), old, EARLY).kind == "wait"


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (readings(rate=60.0), "hashrate 60.0 TH/s against 100.0 expected"),
        (readings(power=3600.0), "power 3600 W against 3000.0 expected"),
        (readings(setting=Setting.parse("power_limit_w=3400")), "the miner shows power_limit_w=3400"),
        (readings(rate=None), "no hashrate"),
    ],
)
def test_disagreement_waits_until_the_deadline_and_then_missed(seen: list[Observation], words: str) -> None:
    assert judge(act(), seen, EARLY).kind == "wait"
    verdict = judge(act(), seen, LATE)
    assert verdict.kind == "missed"
    assert words in verdict.words


def test_a_miner_that_reports_no_watts_is_judged_by_its_rate() -> None:
    assert judge(act(), readings(power=None), EARLY).kind == "confirmed"


def test_a_firmware_that_does_not_show_the_setting_is_judged_by_its_rate() -> None:
    assert judge(act(), readings(setting=None), EARLY).kind == "confirmed"


def test_one_noisy_reading_does_not_undo_a_change() -> None:
    seen = readings()
    seen[3] = Observation(seen[3].at, 113.0, 100.0, 3000.0, True, TARGET)
    assert judge(act(), seen, LATE).kind == "confirmed"


def test_silence_is_unseen_and_never_missed() -> None:
    assert judge(act(), [], LATE).kind == "wait"
    assert judge(act(), [], SENT + timedelta(hours=1)).kind == "unseen"


def test_a_stop_is_confirmed_by_not_hashing() -> None:
    stop = act(Setting.parse("stop"))
    assert judge(stop, readings(rate=0.0, hashing=False, count=2), EARLY).kind == "confirmed"
    assert judge(stop, readings(hashing=True), LATE).kind == "missed"
    assert judge(stop, readings(hashing=None), LATE).kind == "missed"


def stop_of(before_w: float = 3400.0) -> Act:
    """A stop of a unit that drew `before_w`, expected to draw 30 W."""
    stop = act(Setting.parse("stop"))
    still = stop.expected.model_copy(update={"power_w": Interval(q10=15, q50=30, q90=90)})
    drew = Interval(q10=0.9 * before_w, q50=before_w, q90=1.1 * before_w)
    before = stop.expected.model_copy(update={"power_w": drew})
    return stop.model_copy(update={"expected": still, "expected_before": before})


def stopped(power_w: float | None, source: str | None = "metered") -> list[Observation]:
    """Two readings of a unit that says it is stopped."""
    seen = readings(rate=0.0, power=power_w, hashing=False, count=2)
    return [replace(one, power_source=source) for one in seen]


@pytest.mark.parametrize("power_w", [5.0, 30.0, 120.0, 400.0, None])
def test_a_stop_that_draws_little_is_confirmed_whatever_standby_really_is(power_w: float | None) -> None:
    assert judge(stop_of(), stopped(power_w), EARLY).kind == "confirmed"


def test_a_unit_that_says_it_is_stopped_and_draws_what_it_did_is_not() -> None:
    assert judge(stop_of(), stopped(3350.0), EARLY).kind == "wait"
    verdict = judge(stop_of(), stopped(3350.0), LATE)
    assert verdict.kind == "missed"
    assert "draws 3350 W against 30.0 expected" in verdict.words


@pytest.mark.parametrize("source", ["firmware_estimate", "metered-circuit", None])
def test_watts_that_nobody_measured_at_the_miner_prove_no_stop_wrong(source: str | None) -> None:
    assert judge(stop_of(), stopped(3350.0, source), EARLY).kind == "confirmed"


def test_what_a_unit_drew_before_its_stop_took_effect_is_not_what_the_stop_brings() -> None:
    late = [replace(one, at=one.at + timedelta(minutes=4)) for one in stopped(30.0)]
    verdict = judge(stop_of(), [*readings(power=3400.0, count=4), *late], LATE)
    assert (verdict.kind, verdict.power_w) == ("confirmed", 30.0)


def test_sensors_get_their_own_tolerance_where_the_interval_is_thin() -> None:
    exact = Interval(q10=100, q50=100, q90=100)
    assert within(104.0, exact)
    assert not within(106.0, exact)
