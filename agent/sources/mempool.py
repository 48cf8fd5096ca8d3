"""The network from a mempool explorer: coin price, difficulty and its next change, what blocks bring."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.errors import SourceError
from agent.sources.config import Mapping
from agent.sources.mapping import rows_of
from agent.sources.table import Table

PATHS = {
    "prices": "/api/v1/prices",
    "rewards": "/api/v1/mining/blocks/rewards/1w",
    "fees": "/api/v1/mining/blocks/fees/1w",
    "adjustment": "/api/v1/difficulty-adjustment",
    "hashrate": "/api/v1/mining/hashrate/1m",
}
_BLOCKS_PER_DAY = 144.0
_SATS = 1e8
_HALVING = 210_000
# Of blocks: in some 130 years, when there is no subsidy any more.
_MOST_HEIGHT = 34 * _HALVING
# Fees of single blocks jump; a day of them is what the next blocks will bring.
_FEES_OVER_S = 86400.0


def network(answers: dict[str, Any], now_s: float) -> Table:
    """One row at `now_s`, from one parsed answer for each of `PATHS`.

    Revenue is that of 144 blocks a day at the present difficulty, whatever pace luck gives them.

    Raises:
        SourceError: an answer is not as expected.
    """

    def number(answer: str, path: str) -> float:
        return rows_of(answers[answer], Mapping(value=path), now_s, f"{PATHS[answer]}")[0][1]

    sums = {}
    for name, column in (("rewards", "avgRewards"), ("fees", "avgFees")):
        mapping = Mapping(rows=".", time="timestamp", value=column, time_format="unix_s", scale=1.0 / _SATS)
        rows = rows_of(answers[name], mapping, now_s, PATHS[name])
        recent = [value for at_s, value in rows if at_s >= now_s - _FEES_OVER_S] or [v for _, v in rows[-1:]]
        if not recent:
            raise SourceError(f"{PATHS[name]}: the list is empty")
        sums[name] = float(np.mean(recent))
    heights = Mapping(rows=".", time="timestamp", value="avgHeight", time_format="unix_s")
    found = [value for _, value in rows_of(answers["rewards"], heights, now_s, PATHS["rewards"])]
    height = max(found, default=float("nan"))
    if not 0.0 <= height < _MOST_HEIGHT:
        raise SourceError(f"{PATHS['rewards']}: avgHeight {height:g} cannot be")
    subsidy = 50.0 / 2.0 ** (height // _HALVING)
    if not sums["fees"] >= 0.0 or abs(sums["rewards"] - sums["fees"] - subsidy) > 0.05 * subsidy + 0.05:
        raise SourceError(
            f"{PATHS['rewards']}: {sums['rewards']:g} BTC a block are not the subsidy of {subsidy:g} and "
            f"fees of {sums['fees']:g}"
        )
    row = {
        "price_usd_per_btc": number("prices", "USD"),
        "difficulty": number("hashrate", "currentDifficulty"),
        "subsidy_btc_per_day": subsidy * _BLOCKS_PER_DAY,
        "fees_btc_per_day": sums["fees"] * _BLOCKS_PER_DAY,
    }
    at_s = number("adjustment", "estimatedRetargetDate") / 1000.0
    rise = number("adjustment", "difficultyChange") / 100.0
    likely = now_s < at_s < now_s + 30 * 86400.0 and -0.75 <= rise <= 3.0
    return Table(
        np.array([now_s]),
        {name: np.array([value]) for name, value in row.items()},
        (at_s, rise) if likely else None,
    )
