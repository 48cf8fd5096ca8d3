"""How good trained models are on farms whose physics training never saw. Prints JSON.

Makes history of one set of physics, trains on it in a process of its own (or takes --bundle), then makes
history of other sets and compares predictions with telemetry and with the true curves. Every test unit has
physics of its own (`--test-variants`), and coverage comes with its standard error between units. Exit code 1
where a limit is missed.

  python benchmarks/models.py                                # 208 miners x 90 days: half an hour on two cores
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
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from agent.energy import KWH_PER_W_DAY  # noqa: E402
from agent.models.bundle import Bundle, load_bundle  # noqa: E402
from agent.models.inference import BundlePredictor, Economics  # noqa: E402
from benchmarks.judging.accuracy import accuracy, power_model  # noqa: E402
from benchmarks.judging.farm import FIRST, UNREAD_DAYS, WARM_DAYS, Farm, farm, only, plan_of, write_lake  # noqa: E402
from benchmarks.judging.slope import LIMIT, constant_j_th, middle_of, slopes  # noqa: E402
from tests.inference.units import covered_units  # noqa: E402
from trainer.latency import latency as graph_latency  # noqa: E402

LEFT_OUT = ("antminer-s19-xp", "antminer-t21", "whatsminer-m50s", "whatsminer-m60")
DENSE = np.linspace(0.3, 1.2, 181)


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
        cost = money[:, 1] * KWH_PER_W_DAY * told_power[:, 1]
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
    predictor = BundlePredictor(bundle, covered_units(bundle.manifest, 1000))
    shares = np.tile(np.linspace(0.5, 1.0, 30), (1000, 1))
    features = golden[rng.integers(len(golden), size=1000)]
    economics = Economics(0.05, 0.06, 1.05, 0.02, 6.0)
    return {
        "size_bytes": {name: entry.size_bytes for name, entry in bundle.manifest.files.items()},
        "graphs": graph_latency(bundle),
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


def limits(found: dict[str, Any]) -> dict[str, bool]:
    """What must hold, by name."""
    seen, slope = found["held_out"], found["slope"]
    held = {f"{q}_error_under_2_percent": seen[q]["median_error"] < 0.02 for q in ("hashrate", "power")}
    for q in ("hashrate", "power"):
        held[f"{q}_coverage_77_to_83"] = 0.77 <= seen[q]["coverage"] <= 0.83
        least, most = seen[q]["coverage_by_model_least"], seen[q]["coverage_by_model_most"]
        held[f"{q}_coverage_by_model_72_to_88"] = least >= 0.72 and most <= 0.88
    held["slope_within_15_percent_at_every_share"] = max(slope["median_error_by_share"].values()) < LIMIT
    held["slope_within_15_percent_for_every_model"] = all(
        own["median_error"] < LIMIT for own in slope["by_model"].values()
    )
    held["constant_j_th_fails_the_slope"] = found["slope_of_constant_j_th"]["median_error"] > LIMIT
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
            own = found["never_seen"][q]["by_model"]
            known = found["held_out"][q]["by_model"]
            held[f"{q}_of_a_model_never_seen_under_6_percent"] = all(
                each["median_error"] < 0.06 for each in own.values()
            )
            held[f"{q}_of_a_model_never_seen_is_wider"] = all(
                each["median_width"] > known[name]["median_width"] for name, each in own.items()
            )
    return held


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"train_seed": options.train_seed, "test_seeds": options.test_seeds}
    found["test_variants"] = options.test_variants
    path = options.bundle
    if path is None:
        plan = plan_of(options.miners, options.days, options.variants, options.train_seed)
        path = options.keep or folder / "bundle"
        found |= {"miners": options.miners, "days": options.days}
        found["training"] = train(write_lake(plan, folder / "lake"), path)
    bundle = load_bundle(path)
    found["family"] = bundle.manifest.training.model_family

    predict = middle_of(bundle)
    # Judged after the last day that training saw.
    first = FIRST + timedelta(days=max(0, options.days - UNREAD_DAYS - int(WARM_DAYS)))
    days = UNREAD_DAYS + int(WARM_DAYS) + options.test_days
    farms = [
        farm(
            plan_of(options.test_miners, days, options.test_variants, seed, first=first),
            folder / f"test-{seed}",
            unread_days=UNREAD_DAYS,
        )
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
        "--test-seeds", type=int, nargs="+", default=[1001, 1002, 1003], help="of physics that it never sees"
    )
    parser.add_argument("--test-miners", type=int, default=416, help="per seed; by default 16 of each model")
    parser.add_argument(
        "--test-variants", type=int, default=16, help="sets of physics of each model, per seed"
    )
    parser.add_argument(
        "--test-days", type=int, default=8, help="judged, after the last day that training saw"
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
