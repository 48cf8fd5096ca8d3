"""Searching hyper-parameters: bounded, resumed, and blind to what is reported on."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from agent.errors import DataError
from trainer.dataset import Dataset
from trainer.selection import CUTS, cross_validate
from trainer.tuning import KINDS, Search, tune


def still() -> float:
    """A clock on which no time passes."""
    return 0.0


def test_every_kind_is_searched_and_the_same_seed_finds_the_same(dataset: Dataset) -> None:
    found = tune(dataset, Search(1, 1e9), 1, still)
    assert [family.name for family in found] == [f"{kind}-tuned" for kind in KINDS]
    assert tune(dataset, Search(1, 1e9), 1, still, kinds=("ridge",)) == found[:1]


def test_what_is_found_is_no_worse_before_the_first_test_than_any_it_tried(dataset: Dataset) -> None:
    # the best of one trial cannot beat the best of three that begin with it
    def value(trials: int) -> float:
        family = tune(dataset, Search(trials, 1e9), 3, still, kinds=("ridge",))[0]
        start, end = float(dataset.at_s.min()), float(dataset.at_s.max())
        early = dataset.rows(dataset.end_s <= start + CUTS[0] * (end - start))
        tried = cross_validate([family], early, 3)[0]
        return float(np.nan_to_num(tried.mean("regret")) + 0.1 * tried.error)

    assert value(3) <= value(1)


def test_rows_of_the_reported_tests_are_not_looked_at(dataset: Dataset) -> None:
    start, end = float(dataset.at_s.min()), float(dataset.at_s.max())
    later = dataset.end_s > start + CUTS[0] * (end - start)
    other = dataset.rows(np.arange(len(dataset)))
    other.hashrate_ths[later] *= 3.0
    other.power_w[later] *= 0.2
    kinds = ("ridge",)
    assert tune(other, Search(3, 1e9), 1, still, kinds=kinds) == tune(
        dataset, Search(3, 1e9), 1, still, kinds=kinds
    )


def test_when_the_time_is_over_each_kind_still_had_one_trial(dataset: Dataset) -> None:
    ticks = count(0.0, 100.0)
    found = tune(dataset, Search(1000, 1.0), 1, lambda: next(ticks), kinds=("ridge", "network"))
    assert [family.name for family in found] == ["ridge-tuned", "network-tuned"]


def test_a_search_goes_on_where_it_was_stopped(dataset: Dataset, tmp_path: Path) -> None:
    storage = tmp_path / "search.sqlite3"
    first = tune(dataset, Search(2, 1e9, storage), 1, still, kinds=("ridge",))
    seen: list[float] = []
    # nothing is left to try: the same answer from the file, without a single fit
    assert tune(dataset, Search(2, 1e9, storage), 1, still, seen.append, ("ridge",)) == first
    assert seen == [1.0]


def test_a_storage_that_is_no_database_is_named(dataset: Dataset, tmp_path: Path) -> None:
    storage = tmp_path / "search.sqlite3"
    storage.write_bytes(b"not a database, but long enough to look like one" * 20)
    with pytest.raises(DataError, match="--tune-storage"):
        tune(dataset, Search(1, 1e9, storage), 1, still)
