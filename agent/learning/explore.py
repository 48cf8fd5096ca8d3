"""Which settings are worth trying for what is learned from them: bounded steps, in cheap hours, on a budget.

Trying is an ordinary change of setting and passes every check that others pass; here is only which to offer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.learning.config import ExploreConfig
from agent.learning.correct import rest_variance
from agent.learning.state import UnitLearning, priors
from agent.learning.tuning import regressors
from agent.models.inference import STOP_SHARE, Curves

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# What knowing is worth is an estimate; it must be this much more than what trying costs.
_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One setting worth trying.

    Args:
        row, column: miner and candidate.
        cost_usd: expected loss of holding it, the way there and back included.
        worth_usd: expected gain of better decisions over the days that the knowledge is used.
        peers: units that learn from it.
    """

    row: int
    column: int
    cost_usd: float
    worth_usd: float
    peers: int

    @property
    def words(self) -> str:
        """Why, for the recommendation."""
        others = f" and {self.peers - 1} of its kind" if self.peers > 1 else ""
        return (
            f"tried to learn what this setting brings on this miner{others}: "
            f"costs about {self.cost_usd:.2f} USD, worth about {self.worth_usd:.2f} USD"
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """Money and time of one round.

    Args:
        hashprice_usd_per_ths_day: after pool fee.
        price_usd_per_kwh: with PUE, now.
        later_usd_per_kwh: [S] of the known horizon, to tell whether now is a cheap hour.
        hold_h: hours that a setting is held once entered.
        spent_usd: on probes in the last 24 hours.
    """

    hashprice_usd_per_ths_day: float
    price_usd_per_kwh: float
    later_usd_per_kwh: Floats
    hold_h: float
    spent_usd: float


def probes(
    state: UnitLearning,
    shares: Floats,
    curves: Curves,
    permitted: Bools,
    chosen: Ints,
    lost_hashing_h: Floats,
    terms: Terms,
    config: ExploreConfig,
) -> Sequence[Probe]:
    """What to try now, dearest knowledge first; at most one unit of each group.

    The difference in USD/day between candidate k and the chosen one is uncertain through the parameters of
    both quantities. One hold at k takes s^2 of its variance away, and with a gap of d in favour of the
    chosen one, knowing it brings s (phi(d/s) - d/s Phi(-d/s)) USD/day on average: the expected gain of
    changing one's mind.

    Args:
        shares, permitted, lost_hashing_h: [N,K] of the candidates.
        curves: corrected, [N,K,3].
        chosen: [N] column that the plan takes now; -1 leaves the unit out.
    """
    left = config.budget_usd_per_day - terms.spent_usd
    money = (terms.hashprice_usd_per_ths_day, terms.price_usd_per_kwh)
    if not config.enabled or left <= 0.0 or not np.isfinite(money).all() or not _is_cheap(terms, config):
        return ()
    rows = np.flatnonzero(
        (chosen >= 0) & (np.nan_to_num(shares[np.arange(len(chosen)), chosen]) >= STOP_SHARE)
    )
    if not len(rows):
        return ()
    at, own = np.arange(len(rows)), chosen[rows]
    share = shares[rows]
    here = share[at, own]
    revenue = terms.hashprice_usd_per_ths_day * curves.hashrate_ths[rows, :, 1]
    energy = terms.price_usd_per_kwh * KWH_PER_W_DAY * curves.power_w[rows, :, 1]
    value = revenue - energy
    gap = value[at, own][:, None] - value
    near = (
        permitted[rows] & (share >= STOP_SHARE) & (np.abs(share - here[:, None]) <= config.step_share + 1e-9)
    )
    near[at, own] = False
    x = regressors(np.where(share >= STOP_SHARE, share, 1.0))
    known, shared = _learned(state, rows, x, np.stack([revenue, -energy], axis=1), own, terms.hold_h)
    peers = np.bincount(state.group, minlength=int(state.group.max()) + 1)[state.group[rows]]
    worth = _expected(gap, known) + (peers - 1)[:, None] * _expected(gap, known * shared)
    worth *= config.use_days
    # There and back again.
    lost = 2.0 * np.nan_to_num(lost_hashing_h[rows]) * revenue[at, own][:, None] / 24.0
    cost = np.maximum(gap, 0.0) * terms.hold_h / 24.0 + lost
    good = near & np.isfinite(cost) & (worth > _MARGIN * cost) & (worth > 0.0)
    net = np.where(good, worth - cost, -np.inf)
    best = net.argmax(axis=1)
    found: list[Probe] = []
    taken: set[int] = set()
    for i in np.argsort(-net[at, best], kind="stable").tolist():
        k, group = int(best[i]), int(state.group[rows[i]])
        if not good[i, k] or group in taken or cost[i, k] > left:
            continue
        taken.add(group)
        left -= float(cost[i, k])
        found.append(Probe(int(rows[i]), k, float(cost[i, k]), float(worth[i, k]), int(peers[i])))
    return tuple(found)


def _is_cheap(terms: Terms, config: ExploreConfig) -> bool:
    known = terms.later_usd_per_kwh[np.isfinite(terms.later_usd_per_kwh)]
    return not len(known) or float((known < terms.price_usd_per_kwh).mean()) <= config.cheap_share


def _learned(
    state: UnitLearning, rows: Ints, x: Floats, money: Floats, own: Ints, hold_h: float
) -> tuple[Floats, Floats]:
    """[R,K] standard deviation of the difference in USD/day that a hold takes away; share a group has of it.

    Args:
        x: [R,K,D]; money: [R,2,K] USD/day that each quantity brings.
    """
    at = np.arange(len(rows))
    base = money[at, :, own][:, :, None, None] * x[at, own][:, None, None, :]
    slope = money[..., None] * x[:, None] - base
    cov = state.cov[rows]
    across = slope @ cov
    through = np.einsum("rqkd,rkd->rqk", across, x)
    # A hold brings one slot whose error lasts: more of them tell the same.
    slots = max(1.0, hold_h / state.tuning.slow_h)
    noise = (state.white_var[rows] + rest_variance(state)[rows]) / slots
    spread = np.einsum("rqkd,rkd->rqk", x[:, None] @ cov, x)
    known = np.sqrt((through**2 / (spread + noise[:, :, None])).sum(axis=1))
    common, alone = priors(state, raised=False)
    both = common[state.group[rows]] + alone[rows]
    square = slope * slope
    of_group = np.einsum("rqkd,rqd->rk", square, common[state.group[rows]])
    total = np.einsum("rqkd,rqd->rk", square, both)
    return known, np.divide(of_group, total, out=np.zeros_like(total), where=total > 0.0)


def _expected(gap: Floats, spread: Floats) -> Floats:
    """Mean of max(0, -gap + spread * normal)."""
    safe = np.maximum(spread, 1e-12)
    z = np.clip(gap / safe, -8.0, 8.0)
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    # What would be gained without trying is no gain of knowing.
    return np.asarray(np.maximum(spread * (density - z * _tail(z)) - np.maximum(-gap, 0.0), 0.0))


def _tail(z: Floats) -> Floats:
    """Probability of more than `z`, to 1e-7 (Abramowitz and Stegun 26.2.17)."""
    t = 1.0 / (1.0 + 0.2316419 * np.abs(z))
    series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) * series
    return np.asarray(np.where(z >= 0.0, tail, 1.0 - tail))
