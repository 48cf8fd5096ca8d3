"""Whether another trusted pool of the same coin gives more for the same hashes, by evidence of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import NormalDist

import numpy as np

from agent.advice.coin_switch import NOTHING_IS_SENT
from agent.advice.coins import CoinPool, SwitchRules
from agent.advice.pool_work import PoolWork, effectiveness
from agent.advice.record import Finding, Standing
from agent.pools.guard import PoolGuard, shown
from agent.quantiles import Z80


def pool_switch(
    pools: Sequence[CoinPool],
    work: Mapping[str, PoolWork],
    here: str,
    standings: Sequence[Standing],
    gross_usd_per_ths_day: float,
    guard: PoolGuard,
    rules: SwitchRules,
    last_switch: datetime | None,
    now: datetime,
) -> Finding | None:
    """The best trusted pool if the lower bound of what it gives pays for the switch, else None.

    A pool gives its accepted share of the hashes, less its fee. One without enough accepted shares, of
    either side, is not judged.

    Args:
        pools: of the coin that is hashed for.
        here: URL of the pool that `standings` hash for.
        gross_usd_per_ths_day: what the network pays, before any fee.
        last_switch: when this was last done; within the hold nothing is advised.
    """
    urls = [pool.url.strip().lower() for pool in pools]
    if here not in urls or not standings or not gross_usd_per_ths_day > 0.0:
        return None
    if last_switch is not None and now - last_switch < timedelta(hours=rules.hold_h):
        return None
    at = urls.index(here)
    seen = effectiveness(work, urls, rules.minimum_accepted_shares)
    fees = np.array([pool.fee_share for pool in pools])
    value = seen.ratio * (1.0 - fees)
    sigma = np.hypot(value * seen.relative_sigma, value[at] * seen.relative_sigma[at])
    lost = value[at] * (rules.lost_min / 1440.0) / (rules.hold_h / 24.0)
    rate = sum(one.hashrate_ths for one in standings)
    usd = rate * gross_usd_per_ths_day
    middle = usd * (value - value[at] - lost)
    low = middle - Z80 * usd * sigma
    trusted = np.array([guard.trusts(pool.url) for pool in pools])
    with np.errstate(invalid="ignore"):
        pays = trusted & (low > 0.0) & (middle >= rules.minimum_gain_share * usd * value[at])
    pays[at] = False
    if not pays.any():
        return None
    best = int(np.argmax(np.where(pays, middle, -np.inf)))
    others: list[tuple[str, float, str]] = [(f"stay at {shown(here)}", 0.0, "what is hashed for now")]
    others += [
        (
            f"switch to {shown(pools[k].url)}",
            float(middle[k]),
            "its lower bound does not pay, or it gives less",
        )
        for k in map(int, np.argsort(-np.nan_to_num(middle, nan=-np.inf), kind="stable"))
        if k not in (best, at) and trusted[k] and math.isfinite(middle[k])
    ]
    inputs: dict[str, float | str | None] = {
        "hashrate_ths": rate,
        "gross_usd_per_ths_day": gross_usd_per_ths_day,
    }
    for name, k in (("now", at), ("then", best)):
        inputs |= {
            f"{name}_accepted_share_of_hashes": float(seen.ratio[k]),
            f"{name}_rejected_share": float(seen.rejected_share[k]),
            f"{name}_stale_share": float(seen.stale_share[k]),
            f"{name}_fee_share": float(fees[k]),
        }
    binds = [f"{shown(p.url)}: not a trusted pool" for p, ok in zip(pools, trusted, strict=True) if not ok]
    binds += [
        f"{shown(pools[k].url)}: fewer than {rules.minimum_accepted_shares} accepted shares seen"
        for k in np.flatnonzero(trusted & np.isnan(seen.ratio)).tolist()
    ]
    there = shown(pools[best].url)
    return Finding(
        kind="pool_switch",
        subject=f"pool:{there.split('://')[-1]}",
        now=shown(here),
        then=there,
        standings=standings,
        hashrate_ths=rate,
        power_w=sum(one.power_w for one in standings),
        gain_usd_per_day=(float(low[best]), float(middle[best]), float(2.0 * middle[best] - low[best])),
        confidence=NormalDist().cdf(float(middle[best] / (usd * sigma[best]))),
        summary=f"{there} pays for {value[best]:.1%} of the hashes after its fee, "
        f"{shown(here)} for {value[at]:.1%}",
        inputs=inputs,
        others=others,
        binds=binds,
        steps=[
            f"Check that your account at {there} pays to an address of yours",
            f"Put {there} first in pools.yaml",
            "Look what would change: hashmargin pools set --config SITE.yaml --pools pools.yaml",
            "Stop the agent, run it again with --yes, start the agent",
            NOTHING_IS_SENT,
        ],
        model="accepted difficulty against hashrate",
        looks_ahead_h=rules.hold_h,
    )
