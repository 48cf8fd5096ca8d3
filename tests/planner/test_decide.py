"""Deciding: by money, inside bounds and limits, only where the gain is sure, always with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.models.inference import Curves
from agent.planner.binds import Lately, binding_words
from agent.planner.candidates import Candidates, Choices, build_candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits
from agent.setting import Setting

HASHPRICE, NO_CAP = 0.05, Limits(cap_w=float("inf"), cap_z=1.28, minimum_gain_usd_per_day=0.05)
MODELS = (
    "whatsminer-m30s-plus-plus",
    "whatsminer-m60s",
    "antminer-s21",
    "antminer-s19-pro",
    "whatsminer-m20s",
)


def choice(key: str, current: str | None) -> Choices:
    profile = Catalogue.load().profiles[key]
    bounds = effective_bounds(profile, "stock", None, [])
    setting = Setting.parse(current) if current is not None else None
    return Choices(profile, "stock", bounds, setting, Setting.parse(profile.default_safe_setting["stock"]))


def table(keys: tuple[str, ...] = MODELS) -> Candidates:
    profiles = Catalogue.load().profiles
    return build_candidates([choice(key, profiles[key].default_safe_setting["stock"]) for key in keys])


def fleet(
    candidates: Candidates, price: float, keys: tuple[str, ...] = MODELS, spread: float = 0.02
) -> Fleet:
    """Curves with a constant spread around P ~ h^1.4, priced by hand."""
    profiles = [Catalogue.load().profiles[key] for key in keys]
    rated_ths = np.array([p.rated_hashrate_ths.value for p in profiles])[:, None]
    rated_w = np.array([p.rated_power_w.value for p in profiles])[:, None]
    share = candidates.shares
    rate = np.where(candidates.stops, 0.0, rated_ths * np.where(np.isnan(share), np.nan, share) ** (1 / 1.4))
    power = np.where(candidates.stops, 30.0, rated_w * share)
    power = np.where(np.isnan(share), np.nan, power)
    middle = HASHPRICE * rate - price * 0.024 * power
    half = spread * HASHPRICE * rate

    def around(values: np.ndarray, by: np.ndarray) -> np.ndarray:
        return np.stack([values - by, values, values + by], axis=2)

    curves = Curves(
        hashrate_ths=around(rate, spread * rate),
        power_w=around(power, spread * power),
        chip_temp_c=around(np.full(share.shape, 70.0), np.full(share.shape, 2.0)),
        profit_usd_per_day=around(middle, half),
    )
    count = len(share)
    return Fleet(
        candidates=candidates,
        curves=curves,
        priced_at=(HASHPRICE, price),
        chip_max_c=np.full(count, 100.0),
        present_power_w=rated_w[:, 0],
        rated_power_w=rated_w[:, 0],
        held_back=(None,) * count,
        restarts_left=np.full(count, 4, dtype=np.int64),
        held_h=np.zeros(count),
    )


def flat(price: float, hours: int = 24) -> Horizon:
    """The same prices in every hour."""
    return Horizon(1.0, np.full(hours, HASHPRICE), np.full(hours, price))


def settings_of(plan: Plan, candidates: Candidates) -> list[Setting | None]:
    return [candidates.settings[i][k] if k >= 0 else None for i, k in enumerate(plan.chosen)]


def test_at_a_low_price_everybody_stays_at_full_power() -> None:
    candidates = table()
    plan = decide(fleet(candidates, 0.02), flat(0.02), NO_CAP)
    assert plan.chosen.tolist() == candidates.current.tolist()
    assert np.all(plan.gain == 0.0)


def test_as_the_price_rises_the_worst_efficiency_goes_first() -> None:
    candidates = table()
    stopped_at: dict[str, float] = {}
    for price in np.arange(0.02, 0.30, 0.005):
        plan = decide(fleet(candidates, float(price)), flat(float(price)), NO_CAP)
        for key, setting in zip(MODELS, settings_of(plan, candidates), strict=True):
            if setting is not None and setting.stops_hashing:
                stopped_at.setdefault(key, float(price))
    # What a unit can be turned down to counts, not its rated figure alone.
    curves = fleet(candidates, 0.0).curves
    with np.errstate(divide="ignore", invalid="ignore"):
        reachable = np.where(
            candidates.permitted, curves.power_w[:, :, 1] / curves.hashrate_ths[:, :, 1], np.inf
        )
    best = np.where(candidates.stops, np.inf, reachable).min(axis=1)
    by_efficiency = [MODELS[i] for i in np.argsort(-best)]
    assert sorted(stopped_at, key=lambda key: stopped_at[key]) == by_efficiency


def test_a_unit_of_worse_efficiency_is_turned_down_where_its_twin_is_not() -> None:
    keys = ("whatsminer-m30s-plus-plus", "whatsminer-m30s-plus-plus")
    candidates = table(keys)
    prices = fleet(candidates, 0.0, keys)
    power = prices.curves.power_w.copy()
    power[1] *= 1.12
    differs = False
    for price in np.arange(0.02, 0.12, 0.002):
        profit = prices.curves.profit_usd_per_day - price * 0.024 * power[:, :, 1:2]
        curves = replace(prices.curves, power_w=power, profit_usd_per_day=profit)
        plan = decide(replace(prices, curves=curves), flat(float(price)), NO_CAP)
        shares = candidates.shares[np.arange(2), plan.chosen]
        assert shares[1] <= shares[0]
        differs |= bool(shares[1] < shares[0])
    assert differs


def test_an_unsure_gain_moves_nothing_and_says_why() -> None:
    candidates = table()
    sure = fleet(candidates, 0.045)
    worst = MODELS.index("whatsminer-m20s")
    assert decide(sure, flat(0.045), NO_CAP).chosen[worst] != candidates.current[worst]
    profit = sure.curves.profit_usd_per_day.copy()
    others = np.arange(profit.shape[1]) != candidates.current[worst]
    profit[worst, others, 0] -= 5.0
    profit[worst, others, 2] += 5.0
    unsure = replace(sure, curves=replace(sure.curves, profit_usd_per_day=profit))
    plan = decide(unsure, flat(0.045), NO_CAP)
    assert plan.chosen[worst] == candidates.current[worst]
    assert any("not sure enough" in words for words in binding_words(worst, unsure, NO_CAP, plan))


def test_a_hold_and_restarts_by_others_are_named() -> None:
    candidates = table()
    worst = MODELS.index("whatsminer-m20s")
    count = len(MODELS)
    held = np.zeros(count)
    held[worst] = 1.5
    worn = replace(fleet(candidates, 0.045), restarts_left=np.zeros(count, dtype=np.int64), held_h=held)
    plan = decide(worn, flat(0.045), NO_CAP)
    plan = replace(plan, worn_out=np.ones_like(plan.worn_out))
    holds = [None] * count
    plain = binding_words(worst, worn, NO_CAP, plan, Lately(holds, np.zeros(count, dtype=np.int64)))
    assert plain[:2] == ["in hold for 1.5 h more", "today's restart budget is used up"]
    told = Lately(["in hold until 14:05 UTC"] * count, np.full(count, 2, dtype=np.int64))
    assert binding_words(worst, worn, NO_CAP, plan, told)[:2] == [
        "in hold until 14:05 UTC",
        "today's restart budget is used up; 2 of its restarts were not the agent's doing",
    ]


def test_the_cap_is_kept_and_named() -> None:
    candidates = table()
    free = decide(fleet(candidates, 0.02), flat(0.02), NO_CAP)
    limits = replace(NO_CAP, cap_w=0.8 * free.upper_power_w)
    near = fleet(candidates, 0.02)
    plan = decide(near, flat(0.02), limits)
    assert plan.feasible
    assert plan.upper_power_w <= limits.cap_w
    assert plan.curtailed.any()
    moved = np.flatnonzero(plan.chosen != candidates.current)
    assert all(any("cap" in words for words in binding_words(int(i), near, limits, plan)) for i in moved)


def test_an_impossible_cap_gives_the_least_power() -> None:
    candidates = table()
    plan = decide(fleet(candidates, 0.02), flat(0.02), replace(NO_CAP, cap_w=10.0))
    assert not plan.feasible
    assert all(setting is not None and setting.stops_hashing for setting in settings_of(plan, candidates))


def test_a_miner_that_is_held_back_stays_and_is_counted() -> None:
    candidates = table()
    held = replace(fleet(candidates, 0.25), held_back=("not read: timeout", None, None, None, None))
    plan = decide(held, flat(0.25), NO_CAP)
    assert plan.chosen[0] == candidates.current[0]
    assert plan.left_out == {"not read: timeout": 1}


def test_without_restarts_left_only_changes_that_need_none_are_made() -> None:
    candidates = table()
    worn = replace(fleet(candidates, 0.25), restarts_left=np.zeros(5, dtype=np.int64))
    plan = decide(worn, flat(0.25), NO_CAP)
    rows = np.flatnonzero(plan.chosen != candidates.current)
    assert not candidates.restarts[rows, plan.chosen[rows]].any()


def test_a_setting_predicted_too_hot_is_never_taken() -> None:
    candidates = table()
    base = fleet(candidates, 0.02)
    hot = base.curves.chip_temp_c.copy()
    hot[:, :, 2] = np.where(np.nan_to_num(candidates.shares) > 0.8, 110.0, 80.0)
    plan = decide(replace(base, curves=replace(base.curves, chip_temp_c=hot)), flat(0.02), NO_CAP)
    chosen = candidates.shares[np.arange(5), plan.chosen]
    assert np.all(chosen <= 0.8)


def test_an_unknown_present_setting_moves_nothing() -> None:
    candidates = build_candidates([choice("whatsminer-m20s", None)])
    plan = decide(fleet(candidates, 0.25, ("whatsminer-m20s",)), flat(0.25), NO_CAP)
    assert plan.chosen.tolist() == [-1]
    assert plan.left_out == {"present setting unknown": 1}


def test_a_setting_outside_the_bounds_is_never_taken() -> None:
    found = choice("whatsminer-m20s", "power_limit_w=3417")
    narrowed = replace(found, bounds=tuple(b for b in found.bounds if str(b.knob) == "power_percent"))
    candidates = build_candidates([narrowed])
    plan = decide(fleet(candidates, 0.25, ("whatsminer-m20s",)), flat(0.25), NO_CAP)
    chosen = candidates.settings[0][plan.chosen[0]]
    assert chosen == narrowed.current or str(chosen.knob) == "power_percent"


@given(
    price=st.floats(-0.05, 0.5),
    cap_share=st.floats(0.01, 1.5),
    spread=st.floats(0.0, 0.5),
    restarts=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_inputs_bounds_and_cap_hold(
    price: float, cap_share: float, spread: float, restarts: int
) -> None:
    candidates = table()
    base = fleet(candidates, price, spread=spread)
    given_fleet = replace(base, restarts_left=np.full(5, restarts, dtype=np.int64))
    limits = replace(NO_CAP, cap_w=cap_share * float(base.rated_power_w.sum()))
    plan = decide(given_fleet, flat(price), limits)
    rows = np.arange(5)
    assert np.all((plan.chosen == candidates.current) | candidates.permitted[rows, plan.chosen])
    if plan.feasible:
        assert plan.upper_power_w <= limits.cap_w
    assert np.all((plan.confidence >= 0.0) & (plan.confidence <= 1.0))
    assert np.all(np.diff(plan.gain, axis=1) >= 0.0)


def test_prices_in_another_currency_give_the_same_plan() -> None:
    candidates = table()
    one = fleet(candidates, 0.08)
    curves = replace(one.curves, profit_usd_per_day=one.curves.profit_usd_per_day * 7.0)
    scaled = replace(one, curves=curves, priced_at=(7.0 * HASHPRICE, 7.0 * 0.08))
    dearer = Horizon(1.0, np.full(24, 7.0 * HASHPRICE), np.full(24, 7.0 * 0.08))
    first = decide(one, flat(0.08), replace(NO_CAP, cap_w=9000.0))
    second = decide(scaled, dearer, Limits(cap_w=9000.0, cap_z=1.28, minimum_gain_usd_per_day=0.35))
    assert first.chosen.tolist() == second.chosen.tolist()
    assert second.gain == pytest.approx(7.0 * first.gain)


def test_over_the_cap_a_candidate_that_no_model_foresees_is_not_taken_for_one_without_power() -> None:
    candidates = table()
    known = fleet(candidates, 0.02)
    curves = known.curves
    unknown = np.where(candidates.stops[:, :, None], np.nan, 0.0)
    blind = replace(
        curves,
        power_w=curves.power_w + unknown,
        profit_usd_per_day=curves.profit_usd_per_day + unknown,
    )
    plan = decide(replace(known, curves=blind), flat(0.02), replace(NO_CAP, cap_w=100.0))
    assert not plan.feasible
    assert not candidates.stops[np.arange(len(plan.chosen)), plan.chosen].any()
