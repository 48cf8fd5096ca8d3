"""Training rows of a lake in blocks: the same rows wherever and in however many pieces they are computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from agent.errors import DataError, InputError
from tests.trainer.synthetic import MODELS, fleet, market, prices, write_lake
from trainer.blocks import block_rows, merged, plan_blocks
from trainer.dataset import Dataset
from trainer.engine import DaskEngine, LocalEngine, training_rows

READINGS = 4 * 4 * 288


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    telemetry, _ = fleet(days=4, units_per_model=2, models=MODELS[:2])
    write_lake(folder, telemetry)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    at = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, **at) as made:
        yield made


def keyed(dataset: Dataset) -> dict[tuple[tuple[str, str, str], float], tuple[float, ...]]:
    """Rows by unit and time."""
    return {
        (dataset.units[dataset.unit[i]], float(dataset.at_s[i])): (
            float(dataset.share[i]),
            float(dataset.hashrate_ths[i]),
            *np.nan_to_num(dataset.features[i], nan=-1.0).tolist(),
        )
        for i in range(len(dataset))
    }


def test_a_lake_larger_than_a_block_is_cut_between_miners(lake: Path) -> None:
    blocks = plan_blocks(lake, None, None, 600)
    assert len(blocks) > 1
    miners = [miner for block in blocks for miner in block.miners]
    assert len(miners) == len(set(miners)) == 4


def test_many_blocks_give_the_rows_of_one(lake: Path) -> None:
    whole = training_rows(LocalEngine(), plan_blocks(lake, None, None), market(), prices(), 1)
    parts = training_rows(LocalEngine(), plan_blocks(lake, None, None, 1), market(), prices(), 1)
    assert keyed(parts) == keyed(whole)
    assert parts.models == whole.models


def test_a_cluster_of_two_workers_gives_the_rows_of_this_process(lake: Path, cluster: LocalCluster) -> None:
    blocks = plan_blocks(lake, None, None, 1)
    here = training_rows(LocalEngine(), blocks, market(), prices(), 1)
    engine = DaskEngine(str(cluster.scheduler_address))
    shown: list[float] = []
    there = training_rows(engine, blocks, market(), prices(), 1, shown.append)
    engine.close()
    assert np.array_equal(there.features, here.features, equal_nan=True)
    assert np.array_equal(there.share, here.share)
    assert there.units == here.units
    assert shown[-1] == 1.0


def test_a_file_that_a_worker_cannot_read_is_named(lake: Path, cluster: LocalCluster, tmp_path: Path) -> None:
    blocks = plan_blocks(lake, None, None, 1)
    file = next(lake.glob("date=*/site=*/*.parquet"))
    kept = file.read_bytes()
    engine = DaskEngine(str(cluster.scheduler_address))
    file.write_bytes(b"PAR1 cut off")
    try:
        with pytest.raises(DataError, match="is not readable as Parquet"):
            training_rows(engine, blocks, market(), prices(), 1)
    finally:
        file.write_bytes(kept)
        engine.close()


def test_where_no_scheduler_answers_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.engine.CONNECT_S", 0.3)
    with pytest.raises(InputError, match="dask scheduler"):
        DaskEngine("tcp://127.0.0.1:9")


def test_a_block_that_teaches_nothing_is_left_out(lake: Path) -> None:
    block = plan_blocks(lake, None, None, 1)[0]
    known = block_rows(block, market(), prices(), 1)
    assert known is not None
    assert len(merged([None, known, None], 1)) == len(known)
    with pytest.raises(DataError, match="training needs days"):
        merged([None], 1)
