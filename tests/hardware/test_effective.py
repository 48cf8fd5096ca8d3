"""Bounds in force: profile ∩ firmware-reported range ∩ site overrides, only ever inwards."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import BoundsOverride, Range
from agent.devices.device import Capabilities, ReportedControl
from agent.hardware.bounds import Bounds
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.setting import Knob, Setting

PROFILES = Catalogue.load().profiles
M30SPP = PROFILES["whatsminer-m30s-plus-plus"]
S21 = PROFILES["antminer-s21"]
RATED_W = M30SPP.rated_power_w.value


def of(bounds: tuple[Bounds, ...], knob: Knob) -> Bounds | None:
    return next((bound for bound in bounds if bound.knob is knob), None)


def offering(*controls: ReportedControl) -> Capabilities:
    return Capabilities(controls)


def test_without_overrides_the_profile_rules() -> None:
    assert effective_bounds(M30SPP, "stock", None, ()) == M30SPP.bounds("stock")


def test_a_knob_that_needs_a_reported_range_is_absent_before_the_unit_was_asked() -> None:
    assert of(effective_bounds(S21, "stock", None, ()), Knob.HASHRATE_PERCENT) is None


def test_a_knob_that_needs_a_reported_range_is_absent_where_the_unit_reports_none() -> None:
    said = offering(ReportedControl(Knob.WORK_MODE), ReportedControl(Knob.HASHRATE_PERCENT))

    assert of(effective_bounds(S21, "stock", said, ()), Knob.HASHRATE_PERCENT) is None


def test_half_a_reported_range_is_no_range() -> None:
    said = offering(ReportedControl(Knob.HASHRATE_PERCENT, minimum=65.0))

    assert of(effective_bounds(S21, "stock", said, ()), Knob.HASHRATE_PERCENT) is None


def test_a_reported_range_narrows_the_profile() -> None:
    said = offering(ReportedControl(Knob.HASHRATE_PERCENT, minimum=70.0, maximum=95.0))

    bound = of(effective_bounds(S21, "stock", said, ()), Knob.HASHRATE_PERCENT)

    assert bound == Bounds(Knob.HASHRATE_PERCENT, 70.0, 95.0, binding="firmware")


def test_a_wider_reported_range_does_not_widen_the_profile() -> None:
    said = offering(ReportedControl(Knob.HASHRATE_PERCENT, minimum=20.0, maximum=140.0))

    bound = of(effective_bounds(S21, "stock", said, ()), Knob.HASHRATE_PERCENT)

    assert bound is not None
    assert (bound.minimum, bound.maximum) == (65.0, 100.0)


def test_a_knob_the_unit_does_not_offer_is_left_out() -> None:
    said = offering(ReportedControl(Knob.POWER_LIMIT_W))

    assert [b.knob for b in effective_bounds(M30SPP, "stock", said, ())] == [Knob.POWER_LIMIT_W]


def test_reported_modes_narrow_the_choices() -> None:
    said = offering(ReportedControl(Knob.WORK_MODE, choices=("normal", "high")))

    bound = of(effective_bounds(M30SPP, "stock", said, ()), Knob.WORK_MODE)

    assert bound is not None
    assert bound.choices == ("normal",)


def test_every_override_counts_and_the_strictest_end_wins() -> None:
    overrides = (
        BoundsOverride(power_limit_w=Range(minimum=2500.0)),
        BoundsOverride(power_limit_w=Range(minimum=2400.0, maximum=3300.0)),
        BoundsOverride(power_limit_share=Range(maximum=0.9)),
    )

    bound = of(effective_bounds(M30SPP, "stock", None, overrides), Knob.POWER_LIMIT_W)

    assert bound is not None
    assert (bound.minimum, bound.maximum) == (2500.0, pytest.approx(0.9 * RATED_W))
    assert bound.binding == "site"


def test_a_limit_in_watts_also_binds_power_percent() -> None:
    override = BoundsOverride(power_limit_w=Range(maximum=0.8 * RATED_W))

    bound = of(effective_bounds(M30SPP, "stock", None, (override,)), Knob.POWER_PERCENT)

    assert bound is not None
    assert bound.maximum == pytest.approx(80.0)


def test_a_limit_on_power_takes_modes_above_it_away() -> None:
    override = BoundsOverride(power_limit_share=Range(maximum=0.9))

    bound = of(effective_bounds(M30SPP, "stock", None, (override,)), Knob.WORK_MODE)

    assert bound is not None
    assert bound.choices == ("low",)


def test_a_site_that_forbids_stopping_forbids_sleep_too() -> None:
    bounds = effective_bounds(S21, "stock", None, (BoundsOverride(may_stop=False),))

    assert of(bounds, Knob.STOP) is None
    modes = of(bounds, Knob.WORK_MODE)
    assert modes is not None
    assert modes.choices == ("normal",)


def test_saying_that_a_miner_may_stop_never_gives_back_what_another_override_took() -> None:
    overrides = (BoundsOverride(may_stop=False), BoundsOverride(may_stop=True))

    assert of(effective_bounds(S21, "stock", None, overrides), Knob.STOP) is None


def test_contradicting_overrides_leave_nothing_rather_than_something_wider() -> None:
    overrides = (
        BoundsOverride(power_limit_w=Range(minimum=3300.0)),
        BoundsOverride(power_limit_w=Range(maximum=2500.0)),
    )

    bound = of(effective_bounds(M30SPP, "stock", None, overrides), Knob.POWER_LIMIT_W)

    assert bound is not None
    assert not any(bound.allows(Setting(Knob.POWER_LIMIT_W, w)) for w in (2400.0, 2500.0, 3000.0, 3300.0))


def in_order(low: float | None, high: float | None) -> Range:
    if low is not None and high is not None and low > high:
        low, high = high, low
    return Range(minimum=low, maximum=high)


ends = st.none() | st.floats(min_value=-1e6, max_value=1e6)
ranges = st.none() | st.tuples(ends, ends).filter(lambda pair: pair != (None, None)).map(
    lambda pair: in_order(*pair)
)
overrides = st.builds(
    BoundsOverride.model_construct,
    power_limit_w=ranges,
    power_limit_share=ranges,
    power_percent=ranges,
    hashrate_percent=ranges,
    frequency_percent=st.none(),
    work_modes=st.none() | st.lists(st.sampled_from(["normal", "low", "high", "sleep", "turbo"])),
    may_stop=st.none() | st.booleans(),
)
reports = st.none() | st.lists(
    st.builds(
        ReportedControl,
        knob=st.sampled_from(list(Knob)),
        minimum=ends,
        maximum=ends,
        choices=st.none() | st.lists(st.sampled_from(["normal", "high", "sleep"])).map(tuple),
    )
).map(lambda controls: Capabilities(tuple(controls)))


@settings(derandomize=True, deadline=None)
@given(
    key=st.sampled_from(sorted(PROFILES)),
    said=reports,
    site=st.lists(overrides, max_size=3),
    value=st.floats(min_value=0.0, max_value=10_000.0),
)
def test_nothing_a_unit_or_a_site_says_reaches_outside_the_profile(key, said, site, value) -> None:
    profile = PROFILES[key]
    offered = {bound.knob: bound for bound in profile.bounds("stock")}

    for bound in effective_bounds(profile, "stock", said, site):
        own = offered[bound.knob]
        if bound.choices is not None:
            assert set(bound.choices) <= set(own.choices or ())
        elif bound.knob is not Knob.STOP:
            assert own.minimum is not None and own.maximum is not None
            probe = Setting(bound.knob, value)
            assert own.allows(probe) or not bound.allows(probe)
            assert math.isfinite(bound.minimum or 0.0) and math.isfinite(bound.maximum or 0.0)
