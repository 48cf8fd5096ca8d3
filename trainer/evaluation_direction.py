"""Whether profit moved the way that was predicted when a miner's setting was changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from trainer.graph import Floats
from trainer.held_out import HeldOut

# A change of profit smaller than this share of revenue is a tie: readings alone vary by as much.
TIE = 0.005
_PAIR_GAP_S = 12 * 3600.0
_SAME_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Direction:
    """Whether profit moved the way that was predicted on the eve of a change of setting.

    Profit before and after is taken at the later moment's prices, so that the market moves nothing. A move
    smaller than `TIE` of revenue is a tie, on either side; ties are counted and judged apart.

    Args:
        table: rows predicted up, tie, down; columns observed up, tie, down.
        accuracy: right of the pairs where neither side is a tie; None without any. low, high: its 90 %
            Wilson interval, taken as if pairs were independent.
        usual: what always guessing the more common direction would have scored.
    """

    pairs: int
    table: list[list[int]]
    accuracy: float | None
    low: float | None
    high: float | None
    usual: float | None


def direction(held: HeldOut) -> Direction:
    """Compare every change of a setting, as predicted on its eve, with the last steady row before it."""
    before, after = _pairs(held)
    predicted_power = held.predicted["power_w"][:, 1]
    # What another hour's hashprice would have paid is in proportion to it.
    ratio = held.hashprice[after] / held.hashprice[before]
    energy = held.price[after] * KWH_PER_W_DAY

    def moved(profit: Floats, power: Floats) -> tuple[Floats, Floats]:
        revenue = profit + held.price * KWH_PER_W_DAY * power
        then = ratio * revenue[before]
        change = (revenue[after] - energy * power[after]) - (then - energy * power[before])
        return change, TIE * np.maximum(then, revenue[after])

    true, limit = moved(held.profit_usd_per_day, held.power_w)
    told, _ = moved(held.predicted["profit_usd_per_day"][:, 1], predicted_power)
    known = np.isfinite(true) & np.isfinite(told)
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (_side(told, limit)[known], _side(true, limit)[known]), 1)
    right, wrong = int(table[0, 0] + table[2, 2]), int(table[0, 2] + table[2, 0])
    sure = right + wrong
    if not sure:
        return Direction(int(table.sum()), table.tolist(), None, None, None, None)
    low, high = wilson(right, sure)
    up = int(table[0, 0] + table[2, 0])
    return Direction(int(table.sum()), table.tolist(), right / sure, low, high, max(up, sure - up) / sure)


def _pairs(held: HeldOut) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each change its eve, and the unit's last steady row before it, at most 12 h earlier."""
    order = np.lexsort((held.at_s, held.unit))
    unit, changed, share = held.unit[order], held.changed[order], held.share[order]
    same = np.append((unit[1:] == unit[:-1]) & changed[1:] & (share[1:] == share[:-1]), False)
    eve = np.flatnonzero(changed & ~same)
    steady = np.where(~changed, np.arange(len(order)), -1)
    np.maximum.accumulate(steady, out=steady)
    last = steady[eve]
    eve, last = eve[last >= 0], last[last >= 0]
    keep = (unit[last] == unit[eve]) & (np.abs(share[eve] - share[last]) > _SAME_SHARE)
    keep &= held.at_s[order[eve]] - held.at_s[order[last]] <= _PAIR_GAP_S
    return order[last[keep]], order[eve[keep]]


def _side(moved: Floats, limit: Floats) -> NDArray[np.int64]:
    """0 up, 1 tie, 2 down."""
    return np.where(moved > limit, 0, np.where(moved < -limit, 2, 1)).astype(np.int64)


def wilson(hits: int, count: int, z: float = 1.645) -> tuple[float, float]:
    """Interval of a proportion, 90 % unless told, that stays within 0 and 1."""
    share = hits / count
    scale = 1.0 + z**2 / count
    middle = (share + z**2 / (2 * count)) / scale
    half = z * float(np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))) / scale
    return middle - half, middle + half
