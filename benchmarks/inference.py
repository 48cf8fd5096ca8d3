"""What a bundle costs the agent: load time, latency by batch size, resident memory. Prints JSON.

Milliseconds are of processor time on the one thread that graphs run on, so that neighbours do not count.

Makes its own bundle of a synthetic fleet unless one is given: `python benchmarks/inference.py --bundle DIR`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 1_000, 30_000)


def make_bundle(folder: Path) -> Path:
    """Train a small bundle in a process of its own, so that this one stays as light as an agent."""
    code = """
import sys
from pathlib import Path
from tests.trainer.synthetic import fleet, write_lake
from agent.cli import main
lake = Path(sys.argv[1]) / "lake"
write_lake(lake, fleet(days=8, units_per_model=6)[0])
main(["train", "--lake", str(lake), "--market", str(lake / "market.csv"),
      "--prices", str(lake / "prices.csv"), "--out", str(Path(sys.argv[1]) / "bundle")])
"""
    subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        timeout=600,
    )
    return folder / "bundle"


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(path: Path) -> dict[str, object]:
    import numpy as np

    before = rss_mib()
    from agent.models.bundle import load_bundle
    from agent.models.inference import BundlePredictor, Economics
    from tests.inference.units import covered_units

    imported = rss_mib()
    start = time.process_time()
    bundle = load_bundle(path)
    load_ms = 1000.0 * (time.process_time() - start)
    golden = np.array(bundle.manifest.golden.features, dtype=np.float32)
    rng = np.random.default_rng(1)
    graphs = []
    for rows in SIZES:
        features = golden[rng.integers(len(golden), size=rows)]
        share = rng.uniform(0.5, 1.0, (rows, 1)).astype(np.float32)
        money = np.tile(np.array([0.05, 0.06, 0.1, 6.0], dtype=np.float32), (rows, 1))
        power = quickest(lambda f=features, s=share: bundle.run_power(f, s))
        profit = quickest(lambda f=features, s=share, m=money: bundle.run_profit(f, s, m))
        graphs.append({"rows": rows, "power_ms": power, "profit_ms": profit})
    units = covered_units(bundle.manifest, 1000)
    predictor = BundlePredictor(bundle, units)
    shares = np.tile(np.linspace(0.5, 1.0, 30), (1000, 1))
    features = golden[rng.integers(len(golden), size=1000)]
    economics = Economics(0.05, 0.06, 1.05, 0.02, 6.0)
    fleet_ms = quickest(lambda: predictor.predict(features, shares, np.zeros_like(shares), economics))
    return {
        "model": bundle.manifest.training.model_family,
        "size_bytes": {name: entry.size_bytes for name, entry in bundle.manifest.files.items()},
        "load_and_verify_ms": round(load_ms, 1),
        "graphs": graphs,
        "fleet_1000x30_ms": fleet_ms,
        "rss_mib": {
            "before_imports": round(before, 1),
            "imported": round(imported, 1),
            "after_all": round(rss_mib(), 1),
        },
    }


def quickest(run: object, rounds: int = 5) -> float:
    """Processor milliseconds of the quickest of a few runs."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()  # type: ignore[operator]
        times.append(time.process_time() - start)
    return round(1000.0 * min(times), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="an existing bundle")
    parser.add_argument("--json", action="store_true", help="compact output")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.bundle or make_bundle(Path(folder)))
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
