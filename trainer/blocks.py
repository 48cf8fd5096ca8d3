"""A lake in blocks of miners that fit into memory, each of which becomes training rows on its own.

Every engine of `trainer.engine` works through the same blocks, so where they are computed changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np

from agent.money.prices import MarketSeries, Series
from trainer.dataset import MOST_ROWS, Dataset, NoRows, build_dataset, sampled
from trainer.lake import count_rows, read_lake

# Some 3 GB of memory at a time (3.2 GiB were measured with 2.9 million readings).
BLOCK_ROWS = 3_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """Some miners of a lake over a span of days.

    Args:
        number: place among the blocks; with the seed it makes what is drawn the same everywhere.
        of: how many blocks there are.
    """

    lake: Path
    start: date | None
    end: date | None
    miners: frozenset[str]
    number: int
    of: int


def plan_blocks(lake: Path, start: date | None, end: date | None, most_rows: int = BLOCK_ROWS) -> list[Block]:
    """Blocks of at most `most_rows` readings each, a single miner's aside.

    Raises:
        DataError: no data, or a file cannot be read.
    """
    counts = count_rows(lake, start, end)
    groups: list[list[str]] = [[]]
    held = 0
    for miner in sorted(counts):
        if groups[-1] and held + counts[miner] > most_rows:
            groups.append([])
            held = 0
        groups[-1].append(miner)
        held += counts[miner]
    return [Block(lake, start, end, frozenset(g), i, len(groups)) for i, g in enumerate(groups)]


def block_rows(block: Block, market: MarketSeries, prices: Series, seed: int) -> Dataset | None:
    """Training rows of one block; None where its readings give none.

    Raises:
        DataError: a file cannot be used.
    """
    telemetry = read_lake(block.lake, block.start, block.end, miners=block.miners if block.of > 1 else None)
    rng = np.random.default_rng([seed, block.number])
    try:
        found = build_dataset(telemetry, market, prices, rng)
    except NoRows:
        return None
    # Twice a fair part, as blocks differ in how much they tell.
    return sampled(found, rng, max(MOST_ROWS // 20, 2 * MOST_ROWS // block.of))


def merged(parts: Sequence[Dataset | None], seed: int) -> Dataset:
    """All rows of all blocks, in the order of the blocks.

    Raises:
        DataError: no block has any.
    """
    known = [part for part in parts if part is not None and len(part)]
    if not known:
        raise NoRows
    if len(known) == 1:
        return known[0]
    models = tuple(sorted({model for part in known for model in part.models}))
    units = tuple(unit for part in known for unit in part.units)
    offsets = np.cumsum([0, *(len(part.units) for part in known[:-1])])
    columns = {}
    for each in fields(Dataset):
        values = [getattr(part, each.name) for part in known]
        if isinstance(values[0], np.ndarray):
            columns[each.name] = np.concatenate(values)
    columns["unit"] = np.concatenate(
        [part.unit + offset for part, offset in zip(known, offsets, strict=True)]
    )
    columns["model"] = np.concatenate(
        [np.array([models.index(model) for model in part.models])[part.model] for part in known]
    )
    whole = Dataset(**columns, units=units, models=models)
    return sampled(whole, np.random.default_rng([seed, len(parts)]), MOST_ROWS)
