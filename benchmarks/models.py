"""How good trained models are on farms whose physics training never saw. Prints JSON.

Makes history of one set of physics, trains on it in a process of its own (or takes --bundle), then makes
history of other sets and compares predictions with telemetry and with the true curves. Exit code 1 where a
limit is missed.

  python benchmarks/models.py                                # 208 miners x 90 days: a quarter of an hour
  python benchmarks/models.py --miners 104 --days 20         # a quick look
  python benchmarks/models.py --bundle DIR --test-seeds 7 8  # judge a bundle that exists
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from agent.bundle import Bundle, load_bundle  # noqa: E402
from agent.features import feature_names  # noqa: E402
from agent.inference import BundlePredictor, Economics  # noqa: E402
from agent.prices import read_market, read_prices  # noqa: E402
from simulator.history import HistoryPlan  # noqa: E402
from simulator.history_lake import write_history  # noqa: E402
from simulator.history_truth import HistoryTruth, TrueCurve  # noqa: E402
from simulator.market import write_market, write_prices  # noqa: E402
from simulator.physics_file import default_physics  # noqa: E402
from simulator.physics_spread import drawn  # noqa: E402
from simulator.weather import Seasonal  # noqa: E402
from tests.inference.units import covered_units  # noqa: E402
from trainer.blocks import plan_blocks  # noqa: E402
from trainer.dataset import Dataset  # noqa: E402
from trainer.engine import LocalEngine, training_rows  # noqa: E402

Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

FIRST = date(2026, 1, 5)
LEFT_OUT = ("antminer-s19-xp", "antminer-t21", "whatsminer-m50s", "whatsminer-m60")
# Settings at which slopes are compared, as shares of rated power; power limits do not reach the lowest.
LADDER = np.round(np.arange(0.45, 1.051, 0.05), 2)
LOWEST_LIMIT = 0.60
# Until then windows are not full, and faults that last for weeks have not come to their usual number.
WARM_DAYS = 20.0
MOMENTS = 4
DENSE = np.linspace(0.3, 1.2, 181)
LATENCY_ROWS = (1, 1_000, 60_000)


@dataclass(frozen=True)
class Farm:
    """A made farm on disk, the rows that training would make of it, and the truth about its units."""

    seed: int
    rows: Dataset
    truth: HistoryTruth


def plan_of(
    miners: int, days: int, variants: int, seed: int, without: Sequence[str] = (), step_s: int = 300
) -> HistoryPlan:
    """Every hardware model, each with `variants` sets of physics drawn from `seed`."""
    physics = [model for model in default_physics().models.values() if model.key not in without]
    kinds = [drawn(model, seed, 1 + v) for v in range(variants) for model in physics]
    counts = [miners // len(kinds) + (i < miners % len(kinds)) for i in range(len(kinds))]
    pairs = tuple((kind, count) for kind, count in zip(kinds, counts, strict=True) if count)
    return HistoryPlan(pairs, Seasonal(seed), FIRST, days, step_s, seed)


def write_lake(plan: HistoryPlan, folder: Path) -> Path:
    write_history(plan, folder)
    midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    write_market(folder / "market.csv", midnight, plan.days, plan.seed)
    write_prices(folder / "prices.csv", midnight, plan.days, plan.seed)
    return folder


def train(lake: Path, out: Path) -> dict[str, float]:
    """Run `hashmargin train` in a process of its own; what it took."""
    files = ["--market", str(lake / "market.csv"), "--prices", str(lake / "prices.csv")]
    words = ["train", "--lake", str(lake), *files, "--out", str(out), "--json"]
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "agent", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"hashmargin {' '.join(words)}: exit code {child.returncode}")
    return {
        "wall_s": round(time.perf_counter() - begun, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_gib": round(used.ru_maxrss / 2**20, 2),
    }


def farm(plan: HistoryPlan, folder: Path, warm_days: float = WARM_DAYS) -> Farm:
    lake = write_lake(plan, folder)
    series, prices = read_market(lake / "market.csv"), read_prices(lake / "prices.csv")
    rows = training_rows(LocalEngine(), plan_blocks(lake, None, None), series, prices, plan.seed)
    late = rows.at_s > plan.start_s + warm_days * 86400.0
    return Farm(plan.seed, rows.rows(late), HistoryTruth(plan))


def power_model(bundle: Bundle, features: np.ndarray, share: np.ndarray) -> list[np.ndarray]:
    """Rate, power and chip temperature, [n,3] each, in chunks that fit the processor's cache."""
    parts = [
        bundle.run_power(features[i : i + 4096], share[i : i + 4096, None].astype(np.float32))
        for i in range(0, len(share), 4096)
    ]
    return [np.concatenate(side).astype(np.float64) for side in zip(*parts, strict=True)]


def middle_of(bundle: Bundle) -> Curve:
    """The medians of rate and power."""

    def predict(features: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rate, power, _ = power_model(bundle, features, share)
        return rate[:, 1], power[:, 1]

    return predict


def accuracy(bundle: Bundle, farms: Sequence[Farm]) -> dict[str, Any]:
    """Median errors, and how often the 80 % intervals hold, overall and by hardware model."""
    found: dict[str, Any] = {}
    want: dict[str, list[np.ndarray]] = {"hashrate": [], "power": []}
    got: dict[str, list[np.ndarray]] = {"hashrate": [], "power": []}
    names = []
    for each in farms:
        rate, power, _ = power_model(bundle, each.rows.features, each.rows.share)
        for name, truth, told in (
            ("hashrate", each.rows.hashrate_ths, rate),
            ("power", each.rows.power_w, power),
        ):
            want[name].append(truth)
            got[name].append(told)
        names.append(np.array(each.rows.models)[each.rows.model])
    model = np.concatenate(names)
    for name in want:
        truth, told = np.concatenate(want[name]), np.concatenate(got[name])
        known = np.isfinite(truth)
        off = np.abs(told[:, 1] / truth - 1.0)
        inside = (truth >= told[:, 0]) & (truth <= told[:, 2])
        by = {
            m: {
                "median_error": share_of(np.median(off[own])),
                "coverage": share_of(inside[own].mean()),
                "median_width": share_of(np.median((told[own, 2] - told[own, 0]) / told[own, 1])),
                "rows": int(own.sum()),
            }
            for m in np.unique(model)
            for own in (known & (model == m),)
            if own.any()
        }
        found[name] = {
            "median_error": share_of(np.median(off[known])),
            "p90_error": share_of(np.quantile(off[known], 0.9)),
            "median_error_after_a_change": share_of(
                np.median(off[known & np.concatenate([f.rows.changed for f in farms])])
            ),
            "coverage": share_of(inside[known].mean()),
            "below": share_of((truth < told[:, 0])[known].mean()),
            "above": share_of((truth > told[:, 2])[known].mean()),
            "median_width": share_of(np.median((told[known, 2] - told[known, 0]) / told[known, 1])),
            "coverage_by_model_least": min(e["coverage"] for e in by.values()),
            "coverage_by_model_most": max(e["coverage"] for e in by.values()),
            "by_model": by,
        }
    return found


def moments(each: Farm) -> list[tuple[int, str]]:
    """Rows at which curves are compared, a few per sound, finely set unit, and whose they are."""
    found = []
    rows = each.rows
    whole = ~(rows.column("boards_lost") > 0.0)
    for unit, (_, miner, _) in enumerate(rows.units):
        if not each.truth.finely_set(miner):
            continue
        own = np.flatnonzero((rows.unit == unit) & whole)
        own = np.array([row for row in own if each.truth.sound(miner, float(rows.at_s[row]))], dtype=np.int64)
        if len(own) >= MOMENTS:
            found += [(int(row), miner) for row in own[np.linspace(0, len(own) - 1, MOMENTS).astype(int)]]
    return found


def slopes(farms: Sequence[Farm], predict: Curve) -> dict[str, Any]:
    """How far dP/dH between neighbouring settings is from the true one, as the unit's own power is told."""
    off, at, who = [], [], []
    for each in farms:
        for row, miner in moments(each):
            ladder = LADDER[LADDER >= LOWEST_LIMIT] if each.truth.set_by_watts(miner) else LADDER
            true: TrueCurve = each.truth.curve(miner, float(each.rows.at_s[row]), ladder)
            rate, power = predict(np.repeat(each.rows.features[row][None], len(ladder), axis=0), ladder)
            rise = np.diff(true.hashrate_ths)
            # Where a unit cannot follow its limit there is no slope to get right.
            follows = rise > 0.01 * true.hashrate_ths[-1]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = (np.diff(power) / np.diff(rate)) / (np.diff(true.told_w) / rise)
            off.append((ratio - 1.0)[follows])
            at.append(((ladder[1:] + ladder[:-1]) / 2.0)[follows])
            who.append(np.full(int(follows.sum()), f"{each.seed} {miner}"))
    error, place, unit = np.concatenate(off), np.round(np.concatenate(at), 3), np.concatenate(who)
    size = np.where(np.isfinite(error), np.abs(error), np.inf)
    per_unit = np.array([np.median(size[unit == u]) for u in np.unique(unit)])
    return {
        "units": len(per_unit),
        "median_error": share_of(np.median(size)),
        "p90_error": share_of(np.quantile(size, 0.9)),
        "units_within_15_percent": share_of((per_unit < 0.15).mean()),
        "median_error_by_share": {f"{s:g}": share_of(np.median(size[place == s])) for s in np.unique(place)},
        "median_bias_by_share": {f"{s:g}": share_of(np.median(error[place == s])) for s in np.unique(place)},
    }


def constant_j_th(predict: Curve) -> Curve:
    """The same predictions at each unit's present setting, and the same J/TH at every other."""
    present = feature_names().index("setting_share")

    def belief(features: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        now = np.clip(np.nan_to_num(features[:, present].astype(np.float64), nan=1.0), 0.3, 1.2)
        rate, power = predict(features, now)
        _, watts = predict(features, share)
        return rate * watts / power, watts

    return belief


def shape(bundle: Bundle, each: Farm, rows: int) -> dict[str, float]:
    """Falls of any quantile along a dense grid, and how profit scales and moves with money."""
    rng = np.random.default_rng(each.seed)
    pick = rng.choice(len(each.rows), size=min(rows, len(each.rows)), replace=False)
    falls, worst_double, wrong_way, identity = 0, 0.0, 0, 0.0
    for start in range(0, len(pick), 200):
        features = each.rows.features[pick[start : start + 200]]
        count = len(features)
        many = np.repeat(features, len(DENSE), axis=0)
        share = np.tile(DENSE, count).astype(np.float32)
        rate, power, _ = power_model(bundle, many, share)
        for curve in (rate, power):
            steps = np.diff(curve.reshape(count, len(DENSE), 3), axis=1)
            falls += int((steps < -1e-6 * curve.max()).sum())
        share = rng.uniform(0.4, 1.1, count).astype(np.float32)[:, None]
        money = np.stack(
            [rng.uniform(0.03, 0.12, count), rng.uniform(0.01, 0.15, count), rng.uniform(0.0, 0.3, count),
             rng.uniform(1.0, 24.0, count)], axis=1,
        ).astype(np.float32)  # fmt: skip

        earned = partial(profit, bundle, features, share, money)
        base, doubled = earned(1.0, 1.0), earned(2.0, 2.0)
        revenue = money[:, :1] * rate.reshape(count, -1, 3)[:, -1, 1:2]
        worst_double = max(worst_double, float((np.abs(doubled - 2.0 * base) / (2.0 * revenue)).max()))
        wrong_way += int((earned(1.0, 1.2) > base + 1e-5).sum() + (earned(1.2, 1.0) < base - 1e-5).sum())
        told_rate, told_power, _ = power_model(bundle, features, share[:, 0])
        cost = money[:, 1] * 0.024 * told_power[:, 1]
        paid = (earned(1.0, 1.0, 0.0)[:, 1] + cost) / money[:, 0] / told_rate[:, 1]
        identity = max(identity, float(np.maximum(paid - 1.0, 0.5 - paid).max()))
    return {
        "rows": len(pick),
        "settings": len(DENSE),
        "falls": falls,
        "doubling_off_at_most_of_revenue": float(f"{worst_double:.2g}"),
        "profit_moving_the_wrong_way": wrong_way,
        "paid_share_outside_half_to_one_by": float(f"{max(identity, 0.0):.2g}"),
    }


def profit(
    bundle: Bundle,
    features: np.ndarray,
    share: np.ndarray,
    money: np.ndarray,
    hashprice: float,
    tariff: float,
    lost: float = 1.0,
) -> np.ndarray:
    """USD/day [n,3] with hashprice, tariff and lost hours times these factors."""
    factor = np.array([hashprice, tariff, lost, 1.0], dtype=np.float32)
    return bundle.run_profit(features, share, money * factor).astype(np.float64)


def latency(bundle: Bundle) -> dict[str, Any]:
    golden = np.array(bundle.manifest.golden.features, dtype=np.float32)
    rng = np.random.default_rng(1)
    graphs = []
    for rows in LATENCY_ROWS:
        features = golden[rng.integers(len(golden), size=rows)]
        share = rng.uniform(0.5, 1.0, (rows, 1)).astype(np.float32)
        money = np.tile(np.array([0.05, 0.06, 0.1, 6.0], dtype=np.float32), (rows, 1))
        power = quickest(lambda f=features, s=share: bundle.run_power(f, s))
        profit = quickest(lambda f=features, s=share, m=money: bundle.run_profit(f, s, m))
        graphs.append({"rows": rows, "power_ms": power, "profit_ms": profit})
    predictor = BundlePredictor(bundle, covered_units(bundle.manifest, 1000))
    shares = np.tile(np.linspace(0.5, 1.0, 30), (1000, 1))
    features = golden[rng.integers(len(golden), size=1000)]
    economics = Economics(0.05, 0.06, 1.05, 0.02, 6.0)
    return {
        "size_bytes": {name: entry.size_bytes for name, entry in bundle.manifest.files.items()},
        "graphs": graphs,
        "fleet_1000x30_cpu_ms": quickest(
            lambda: predictor.predict(features, shares, np.zeros_like(shares), economics)
        ),
    }


def quickest(run: Callable[[], object], rounds: int = 5) -> float:
    """CPU milliseconds of the quickest of a few runs; the agent's sessions have one thread."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return round(1000.0 * min(times), 3)


def share_of(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)


def limits(found: dict[str, Any]) -> dict[str, bool]:
    """What must hold, by name."""
    seen = found["held_out"]
    held = {f"{q}_error_under_2_percent": seen[q]["median_error"] < 0.02 for q in ("hashrate", "power")}
    for q in ("hashrate", "power"):
        held[f"{q}_coverage_77_to_83"] = 0.77 <= seen[q]["coverage"] <= 0.83
        least, most = seen[q]["coverage_by_model_least"], seen[q]["coverage_by_model_most"]
        held[f"{q}_coverage_by_model_72_to_88"] = least >= 0.72 and most <= 0.88
    by_share = found["slope"]["median_error_by_share"].values()
    held["slope_within_15_percent_at_every_share"] = max(by_share) < 0.15
    held["constant_j_th_fails_the_slope"] = found["slope_of_constant_j_th"]["median_error"] > 0.15
    held["never_falls"] = found["shape"]["falls"] == 0
    held["doubling_doubles"] = found["shape"]["doubling_off_at_most_of_revenue"] < 0.01
    held["profit_moves_with_money"] = found["shape"]["profit_moving_the_wrong_way"] == 0
    held["paid_share_of_the_rate"] = found["shape"]["paid_share_outside_half_to_one_by"] < 1e-3
    held["fleet_under_300_ms"] = found["latency"]["fleet_1000x30_cpu_ms"] < 300.0
    if "training" in found:
        held["training_under_10_minutes_and_6_gib"] = (
            found["training"]["wall_s"] < 600.0 and found["training"]["peak_rss_gib"] < 6.0
        )
    if "never_seen" in found:
        for q in ("hashrate", "power"):
            own = found["never_seen"][q]
            known = [seen[q]["by_model"][m]["median_width"] for m in own["by_model"]]
            told = [e["median_width"] for e in own["by_model"].values()]
            held[f"{q}_of_a_model_never_seen_under_6_percent"] = all(
                e["median_error"] < 0.06 for e in own["by_model"].values()
            )
            held[f"{q}_of_a_model_never_seen_is_wider"] = all(a > b for a, b in zip(told, known, strict=True))
    return held


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"train_seed": options.train_seed, "test_seeds": options.test_seeds}
    path = options.bundle
    if path is None:
        plan = plan_of(options.miners, options.days, options.variants, options.train_seed)
        path = options.keep or folder / "bundle"
        found |= {"miners": options.miners, "days": options.days}
        found["training"] = train(write_lake(plan, folder / "lake"), path)
    bundle = load_bundle(path)
    found["family"] = bundle.manifest.training.model_family

    predict = middle_of(bundle)
    farms = [
        farm(plan_of(options.test_miners, options.test_days, options.variants, seed), folder / f"test-{seed}")
        for seed in options.test_seeds
    ]
    found["held_out"] = accuracy(bundle, farms)
    found["slope"] = slopes(farms, predict)
    found["slope_of_constant_j_th"] = slopes(farms, constant_j_th(predict))
    found["shape"] = shape(bundle, farms[0], options.shape_rows)
    found["latency"] = latency(bundle)
    if options.left_out:
        rest = plan_of(options.miners, options.left_out_days, options.variants, options.train_seed, LEFT_OUT)
        train(write_lake(rest, folder / "rest"), folder / "without")
        without = load_bundle(folder / "without")
        found["never_seen"] = accuracy(without, [only(each, LEFT_OUT) for each in farms])
    found["holds"] = limits(found)
    return found


def only(each: Farm, models: Sequence[str]) -> Farm:
    own = np.isin(np.array(each.rows.models)[each.rows.model], models)
    return Farm(each.seed, each.rows.rows(own), each.truth)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="judge this bundle instead of training one")
    parser.add_argument("--keep", type=Path, help="folder in which the trained bundle is left")
    parser.add_argument("--miners", type=int, default=208, help="to train on; by default two of each kind")
    parser.add_argument("--days", type=int, default=90, help="to train on")
    parser.add_argument("--variants", type=int, default=4, help="sets of physics of each hardware model")
    parser.add_argument("--train-seed", type=int, default=1, help="of the physics that training sees")
    parser.add_argument(
        "--test-seeds", type=int, nargs="+", default=[1001, 1002], help="of physics that it never sees"
    )
    parser.add_argument("--test-miners", type=int, default=156)
    parser.add_argument(
        "--test-days", type=int, default=50, help=f"of which the first {WARM_DAYS:g} are not judged"
    )
    parser.add_argument("--shape-rows", type=int, default=3000, help="rows for monotony and money")
    parser.add_argument(
        "--left-out", action=argparse.BooleanOptionalAction, default=True,
        help="train a second time without " + ", ".join(LEFT_OUT),
    )  # fmt: skip
    parser.add_argument("--left-out-days", type=int, default=30, help="days of that training")
    parser.add_argument("--json", action="store_true", help="compact output")
    options = parser.parse_args()
    if options.train_seed in options.test_seeds:
        parser.error(f"--test-seeds holds {options.train_seed}, which training sees")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    print(json.dumps(found, indent=None if options.json else 2))
    return 0 if all(found["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
