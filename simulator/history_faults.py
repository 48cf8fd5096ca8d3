"""Faults of made-up history beside settings: what befalls a whole site, and what creeps up on one unit.

How often and how bad is ours; no source gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DAY_S = 86400.0
_OUTAGE_EVERY_DAYS = 45.0
_POOL_EVERY_DAYS = 12.0
_FADE_EVERY_DAYS = 120.0
_FAN_EVERY_DAYS = 160.0
_LOOP_EVERY_DAYS = 120.0
# While a pool stumbles, this share of the work is thrown away, half of it as stale.
_POOL_LOSS = (0.05, 0.6)
_FADE_DEPTH = (0.03, 0.25)
_FADE_DAYS = (4.0, 40.0)
# A board that fades keeps drawing most of its power and reports errors for what it loses.
FADE_POWER = 0.4
FADE_ERRORS = 40.0
_FAN_DAYS = (0.5, 12.0)
# One fan of those of a unit stands still: the others cannot make up for all of it.
FAN_THERMAL = 1.25

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SiteFaults:
    """What happens to all units of a site at once.

    Args:
        outages: stretches without mains; every unit starts anew after one.
        pool: stretches in which the pool throws work away, with the share of it.
    """

    outages: tuple[Span, ...]
    pool: tuple[tuple[float, float, float], ...]

    def pool_loss(self, at: Floats) -> Floats:
        """Share of the work that is thrown away, in the shape of `at`."""
        loss = np.zeros(np.shape(at))
        for begin, end, share in self.pool:
            loss[(at >= begin) & (at < end)] = share
        return loss


@dataclass(frozen=True, slots=True)
class UnitFaults:
    """What creeps up on one unit until somebody mends it.

    Args:
        fades: stretches in which hashrate falls in a straight line, with the share lost at their end.
        fans: stretches with one fan standing still.
        loops: moments at which the mining process crashes, many in a row.
    """

    fades: tuple[tuple[float, float, float], ...]
    fans: tuple[Span, ...]
    loops: tuple[float, ...]

    def faded(self, at: Floats) -> Floats:
        """Share of the hashrate that is lost, [T]."""
        lost = np.zeros(len(at))
        for begin, end, depth in self.fades:
            inside = (at >= begin) & (at < end)
            lost[inside] = depth * (at[inside] - begin) / (end - begin)
        return lost

    def fan_out(self, at: Floats) -> NDArray[np.bool_]:
        """Where a fan stands still, [T]."""
        out = np.zeros(len(at), dtype=np.bool_)
        for begin, end in self.fans:
            out |= (at >= begin) & (at < end)
        return out


def draw_site_faults(rng: np.random.Generator, start_s: float, end_s: float) -> SiteFaults:
    """What befalls a site between two times."""
    outages = [
        (at, at + float(np.exp(rng.uniform(np.log(120.0), np.log(3.0 * 3600.0)))))
        for at in moments(rng, start_s, end_s, _OUTAGE_EVERY_DAYS)
    ]
    pool = [
        (at, at + float(rng.uniform(300.0, 5400.0)), float(rng.uniform(*_POOL_LOSS)))
        for at in moments(rng, start_s, end_s, _POOL_EVERY_DAYS)
    ]
    # Two at once would be one that lasts longer.
    apart = [span for i, span in enumerate(outages) if i == 0 or span[0] > outages[i - 1][1] + 3600.0]
    return SiteFaults(tuple(apart), tuple(pool))


def draw_unit_faults(rng: np.random.Generator, start_s: float, end_s: float, fans: int) -> UnitFaults:
    """What befalls one unit between two times."""
    fades = [
        (at, at + float(rng.uniform(*_FADE_DAYS)) * _DAY_S, float(rng.uniform(*_FADE_DEPTH)))
        for at in moments(rng, start_s, end_s, _FADE_EVERY_DAYS)
    ]
    stopped = [
        (at, at + float(rng.uniform(*_FAN_DAYS)) * _DAY_S)
        for at in moments(rng, start_s, end_s, _FAN_EVERY_DAYS)
    ]
    loops = []
    for at in moments(rng, start_s, end_s, _LOOP_EVERY_DAYS):
        gaps = rng.uniform(600.0, 2400.0, int(rng.integers(3, 13)))
        loops += (at + np.cumsum(gaps)).tolist()
    return UnitFaults(tuple(fades), tuple(stopped) if fans > 1 else (), tuple(loops))


def moments(rng: np.random.Generator, start_s: float, end_s: float, every_days: float) -> list[float]:
    """Times at which something happens that comes by chance every so many days, rising."""
    count = int(rng.poisson((end_s - start_s) / _DAY_S / every_days))
    return sorted((start_s + (end_s - start_s) * rng.random(count)).tolist())
