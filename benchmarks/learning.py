"""What correcting the fleet's curves for every unit costs a cycle. Prints JSON.

    .venv/bin/python benchmarks/learning.py --miners 1000 --json

One round takes in a reading of every unit and corrects its curve at 12 candidate settings; processor time
of one core, median and most of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from agent.learning.correct import correct
from agent.models.inference import Economics
from tests.learning.feed import Feed, fleet_curve

CANDIDATES = 12
# Hashprice, price, PUE, pool fee, hours held: any will do.
MONEY = Economics(0.05, 0.08, 1.1, 0.02, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    feed = Feed(args.miners, seed=3)
    shares = np.tile(np.linspace(0.4, 1.1, CANDIDATES), (args.miners, 1))
    curves = fleet_curve(shares)
    curves.profit_usd_per_day[...] = 1.0
    took = []
    for _ in range(args.rounds):
        began = time.process_time()
        feed.run(1)
        correct(feed.state, shares, curves, np.full(args.miners, 25.0), MONEY, np.zeros(shares.shape))
        took.append(1e3 * (time.process_time() - began))
    document = {
        "benchmark": "learning",
        "miners": args.miners,
        "candidates": CANDIDATES,
        "median_ms": round(statistics.median(took), 2),
        "most_ms": round(max(took), 2),
    }
    print(json.dumps(document, indent=2) if args.json else document)


if __name__ == "__main__":
    main()
