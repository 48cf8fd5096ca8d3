"""What the exported graphs must hold whatever was learned: order, monotony, scale, truth on unseen units."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.features.streaming import feature_names
from agent.models.bundle import Bundle
from tests.trainer.conftest import CREATED, silent
from tests.trainer.synthetic import MODELS, fleet, market, prices
from trainer.dataset import Dataset, build_dataset
from trainer.export import check_export, golden_vectors, graphs
from trainer.families import FAMILIES
from trainer.learn import Learned, export, learn
from trainer.power_model import fit_curves

Floats32 = NDArray[np.float32]
SHARES = np.linspace(0.2, 1.4, 61)


def grid(dataset: Dataset, count: int, seed: int = 3) -> tuple[Floats32, Floats32]:
    """Rows of history, each at every one of `SHARES`; some with features knocked out."""
    rng = np.random.default_rng(seed)
    features = dataset.features[rng.choice(len(dataset), count, replace=False)].copy()
    names = feature_names()
    kept = [names.index(n) for n in ("rated_hashrate_ths", "rated_power_w")]
    knocked = rng.random(features.shape) < 0.15
    knocked[:, kept] = False
    features[knocked] = np.nan
    shares = np.tile(SHARES.astype(np.float32), count)[:, None]
    return np.repeat(features, len(SHARES), axis=0), shares


def economics(count: int, hashprice: float = 0.05, price: float = 0.06) -> Floats32:
    return np.tile(np.array([hashprice, price, 0.2, 6.0], dtype=np.float32), (count, 1))


def test_hashrate_and_power_never_fall_when_the_share_rises(bundle: Bundle, dataset: Dataset) -> None:
    features, shares = grid(dataset, 400)
    rate, power, _ = bundle.run_power(features, shares)
    for values in (rate, power):
        curve = values.reshape(-1, len(SHARES), 3).astype(np.float64)
        assert (np.diff(curve, axis=1) >= -1e-6 * curve[:, 1:]).all()


def test_quantiles_are_in_order_and_finite(bundle: Bundle, dataset: Dataset) -> None:
    features, shares = grid(dataset, 400)
    outputs = [
        *bundle.run_power(features, shares),
        bundle.run_profit(features, shares, economics(len(shares))),
    ]
    for values in outputs:
        assert np.isfinite(values).all()
        assert (np.diff(values, axis=1) >= 0.0).all()


def test_doubling_hashprice_and_price_doubles_profit_exactly(bundle: Bundle, dataset: Dataset) -> None:
    features, shares = grid(dataset, 50)
    once = bundle.run_profit(features, shares, economics(len(shares)))
    twice = bundle.run_profit(features, shares, economics(len(shares), 0.1, 0.12))
    np.testing.assert_array_equal(twice, 2.0 * once)


def test_every_quantile_of_profit_falls_with_the_tariff(bundle: Bundle, dataset: Dataset) -> None:
    features, shares = grid(dataset, 50)
    tariffs = (-0.02, 0.0, 0.03, 0.06, 0.12, 0.4)
    runs = [bundle.run_profit(features, shares, economics(len(shares), price=p)) for p in tariffs]
    assert (np.diff(np.stack(runs), axis=0) < 0.0).all()


def test_every_quantile_of_profit_rises_with_hashprice(bundle: Bundle, dataset: Dataset) -> None:
    features, shares = grid(dataset, 50)
    runs = [
        bundle.run_profit(features, shares, economics(len(shares), hashprice=h))
        for h in (0.01, 0.03, 0.06, 0.2)
    ]
    assert (np.diff(np.stack(runs), axis=0) > 0.0).all()


def test_lost_hashing_is_taken_off_the_revenue(bundle: Bundle, dataset: Dataset) -> None:
    features, shares = grid(dataset, 20)
    money = economics(len(shares), price=0.0)
    none = money.copy()
    none[:, 2] = 0.0
    ratio = bundle.run_profit(features, shares, money) / bundle.run_profit(features, shares, none)
    np.testing.assert_allclose(ratio, 1.0 - 0.2 / 6.0, rtol=1e-5)


def test_the_slope_of_power_over_hashrate_holds_on_units_never_seen(bundle: Bundle) -> None:
    telemetry, truths = fleet(days=3, units_per_model=3, seed=99, models=MODELS[:3])
    rows = build_dataset(telemetry, market(), prices(), np.random.default_rng(2))
    worst = []
    for unit, truth in enumerate(truths):
        own = np.flatnonzero(rows.unit == unit)[-8:]
        for low, high in ((0.6, 0.7), (0.7, 0.85), (0.85, 1.0), (0.6, 1.0)):
            ends = np.array([low, high])
            shares = np.tile(ends.astype(np.float32), len(own))[:, None]
            rate, power, _ = bundle.run_power(np.repeat(rows.features[own], 2, axis=0), shares)
            rate, power = rate[:, 1].reshape(-1, 2), power[:, 1].reshape(-1, 2)
            slope = (power[:, 1] - power[:, 0]) / (rate[:, 1] - rate[:, 0])
            true = np.diff(truth.power(ends))[0] / np.diff(truth.rate(ends))[0]
            worst.append(abs(float(np.median(slope)) / true - 1.0))
    assert max(worst) < 0.15


def test_a_constant_joule_per_terahash_would_fail_that() -> None:
    _, truths = fleet(days=1, units_per_model=1)
    ends = np.array([0.85, 1.0])
    for truth in truths:
        slope = np.diff(truth.power(ends))[0] / np.diff(truth.rate(ends))[0]
        assert slope / (truth.power(ends)[1] / truth.rate(ends)[1]) > 1.15


def test_predictions_on_unseen_units_err_by_less_than_two_percent(bundle: Bundle) -> None:
    telemetry, _ = fleet(days=4, units_per_model=3, seed=77, models=MODELS[:3])
    rows = build_dataset(telemetry, market(), prices(), np.random.default_rng(2))
    rate, power, _ = bundle.run_power(rows.features, rows.share.astype(np.float32)[:, None])
    assert np.median(np.abs(rate[:, 1] / rows.hashrate_ths - 1.0)) < 0.02
    assert np.median(np.abs(power[:, 1] / rows.power_w - 1.0)) < 0.02


def test_intervals_are_wider_for_a_hardware_model_that_was_never_seen(
    bundle: Bundle, dataset: Dataset
) -> None:
    features = dataset.features[:200].copy()
    shares = np.full((200, 1), 0.8, dtype=np.float32)
    known = bundle.run_power(features, shares)[0]
    names = feature_names()
    features[:, names.index("rated_hashrate_ths")] *= 1.1
    other = bundle.run_power(features, shares)[0]
    assert np.median(np.log(other[:, 2] / other[:, 0])) > np.median(np.log(known[:, 2] / known[:, 0]))


def test_coverage_on_other_units_is_eighty_percent_or_somewhat_more(learned: Learned) -> None:
    for quantity in ("hashrate", "power", "profit"):
        assert 0.75 <= learned.metrics["coverage"][quantity]["overall"] <= 0.92


def test_curves_that_bend_beat_the_profile_curve_on_regret(learned: Learned) -> None:
    regret = {f["family"]: f["regret"] for f in learned.metrics["families"]}
    assert regret[learned.metrics["chosen"]] < regret["level-ridge"]


def test_boosted_trees_export_to_the_same_numbers(dataset: Dataset, learned: Learned) -> None:
    family = next(family for family in FAMILIES if family.kind == "trees")
    power = replace(learned.model.power, curves=fit_curves(family, dataset, 1))
    model = replace(learned.model, power=power)
    features, share = dataset.features[:1000], dataset.share[:1000]
    money = economics(1000).astype(np.float64)
    assert max(check_export(graphs(model), model, features, share, money).values()) < 2e-4


def test_boosted_trees_never_fall_either(dataset: Dataset) -> None:
    family = next(family for family in FAMILIES if family.kind == "trees")
    curves = fit_curves(family, dataset, 1)
    features, shares = grid(dataset, 100)
    for values in curves.predict(features, shares[:, 0].astype(np.float64)):
        assert (np.diff(values.reshape(-1, len(SHARES)), axis=1) >= 0.0).all()


def test_the_same_seed_gives_the_same_graphs(dataset: Dataset, learned: Learned) -> None:
    ridge = [family for family in FAMILIES if family.name == learned.chosen.family.name]
    one, two = (graphs(learn(dataset, 7, silent, ridge).model) for _ in range(2))
    assert one == two


def test_golden_vectors_say_nan_as_none(bundle: Bundle) -> None:
    golden = bundle.manifest.golden
    assert any(value is None for value in golden.features[0])
    json.dumps(golden.model_dump(), allow_nan=False)


def test_golden_vectors_are_what_the_graphs_give(learned: Learned, dataset: Dataset) -> None:
    made = graphs(learned.model)
    money = economics(3).astype(np.float64)
    first = golden_vectors(made, dataset.features[:3], dataset.share[:3], money)
    again = golden_vectors(made, dataset.features[:3], dataset.share[:3], money)
    assert first == again
    assert all(row[0] <= row[1] <= row[2] for row in first["power_w"])


@pytest.mark.parametrize(("quantity", "level"), [("hashrate", "rate_level"), ("power", "power_level")])
def test_metrics_name_the_units_own_level_among_what_matters(
    learned: Learned, quantity: str, level: str
) -> None:
    assert level in list(learned.metrics["importance"][quantity])[:6]


def test_without_any_measured_power_the_profile_stands_in_with_a_wide_interval(
    dataset: Dataset, tmp_path: Path
) -> None:
    features = dataset.features.copy()
    for i, name in enumerate(feature_names()):
        if name.startswith("power_") and not name.startswith("power_source"):
            features[:, i] = np.nan
    blind = replace(dataset, features=features, power_w=np.full(len(dataset), np.nan))
    ridge = [family for family in FAMILIES if family.name == "linear-ridge"]
    found = learn(blind, 1, silent, ridge)
    made = export(found, blind, tmp_path / "bundle", 1, CREATED, silent)
    share = blind.share[:100].astype(np.float32)[:, None]
    power = made.run_power(blind.features[:100], share)[1]
    rated = blind.column("rated_power_w")[:100]
    np.testing.assert_allclose(power[:, 1], rated * share[:, 0], rtol=1e-3)
    assert (np.log(power[:, 2] / power[:, 0]) > 0.2).all()
