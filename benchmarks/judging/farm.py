"""Made farms to train on and to judge by: hardware of drawn physics, its history as a lake, and the truth."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from agent.money.prices import read_market, read_prices
from simulator.history import HistoryPlan
from simulator.history_lake import write_history
from simulator.history_truth import HistoryTruth
from simulator.market import write_market, write_prices
from simulator.physics_file import default_physics
from simulator.physics_spread import drawn
from simulator.weather import Seasonal
from trainer.blocks import plan_blocks
from trainer.dataset import Dataset
from trainer.engine import LocalEngine, training_rows

FIRST = date(2026, 1, 5)
# Made and never read: faults that creep up for up to six weeks have come to their usual number after these.
UNREAD_DAYS = 42
# Read and not judged: the windows of features fill.
WARM_DAYS = 10.0


@dataclass(frozen=True)
class Farm:
    """A made farm: the rows that training would make of its lake, and the truth about its units."""

    seed: int
    rows: Dataset
    truth: HistoryTruth


def plan_of(
    miners: int,
    days: int,
    variants: int,
    seed: int,
    without: Sequence[str] = (),
    step_s: int = 300,
    first: date = FIRST,
) -> HistoryPlan:
    """Every hardware model, each with `variants` sets of physics drawn from `seed`."""
    physics = [model for model in default_physics().models.values() if model.key not in without]
    kinds = [drawn(model, seed, 1 + v) for v in range(variants) for model in physics]
    counts = [miners // len(kinds) + (i < miners % len(kinds)) for i in range(len(kinds))]
    pairs = tuple((kind, count) for kind, count in zip(kinds, counts, strict=True) if count)
    return HistoryPlan(pairs, Seasonal(seed), first, days, step_s, seed)


def write_lake(plan: HistoryPlan, folder: Path) -> Path:
    write_history(plan, folder)
    midnight = datetime(plan.first.year, plan.first.month, plan.first.day, tzinfo=UTC)
    write_market(folder / "market.csv", midnight, plan.days, plan.seed)
    write_prices(folder / "prices.csv", midnight, plan.days, plan.seed)
    return folder


def farm(plan: HistoryPlan, folder: Path, warm_days: float = WARM_DAYS, unread_days: int = 0) -> Farm:
    """The farm of `plan`, judged after its unread and warm days; its lake in `folder` is removed again."""
    lake = write_lake(plan, folder)
    series, prices = read_market(lake / "market.csv"), read_prices(lake / "prices.csv")
    blocks = plan_blocks(lake, plan.first + timedelta(days=unread_days), None)
    rows = training_rows(LocalEngine(), blocks, series, prices, plan.seed)
    shutil.rmtree(folder)
    late = rows.at_s > plan.start_s + (unread_days + warm_days) * 86400.0
    return Farm(plan.seed, rows.rows(late), HistoryTruth(plan))


def only(each: Farm, models: Sequence[str]) -> Farm:
    own = np.isin(np.array(each.rows.models)[each.rows.model], models)
    return Farm(each.seed, each.rows.rows(own), each.truth)
