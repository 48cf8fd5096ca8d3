"""Whether another SHA-256 coin pays for the switch: only by the lower bound, and only at a trusted pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from agent.advice.coins import (
    CoinBook,
    CoinsFile,
    Floats,
    daily_sigma,
    gross_history,
    kept_share,
    switch_gain,
)
from agent.advice.record import Finding, Standing
from agent.money.prices import MarketSeries, Series
from agent.pools.guard import PoolGuard, shown

NOTHING_IS_SENT = "nothing is sent by approving this; hashmargin writes pools only through its pool commands"


def coin_book(
    coins: CoinsFile, markets: Mapping[str, MarketSeries], guard: PoolGuard, now: datetime
) -> CoinBook:
    """What each coin pays, by its cheapest trusted pool.

    Args:
        markets: by coin code; a coin that is not in it is unknown.
    """
    pools = [
        min((p for p in coin.pools if guard.trusts(p.url)), key=lambda p: p.fee_share, default=None)
        for coin in coins.coins
    ]
    nothing = Series(np.empty(0), np.empty(0), 0.0)
    unknown = MarketSeries(nothing, nothing)
    gross = [
        gross_history(markets.get(coin.code, unknown), coin, now.timestamp(), coins.switch.max_age_h)
        for coin in coins.coins
    ]
    kept = [
        kept_share(coin, pool.fee_share) if pool is not None else float("nan")
        for coin, pool in zip(coins.coins, pools, strict=True)
    ]
    return CoinBook(
        tuple(coin.code for coin in coins.coins),
        np.column_stack(gross),
        np.array(kept),
        tuple(pool.url if pool is not None else None for pool in pools),
    )


def coin_switch(
    book: CoinBook,
    coins: CoinsFile,
    here: str,
    standings: Sequence[Standing],
    last_switch: datetime | None,
    now: datetime,
) -> Finding | None:
    """The coin that pays most if its lower bound pays for the switch, else None.

    Args:
        here: code of the coin that `standings` hash for now; its own fee is that of its cheapest trusted
            pool, so that a dearer pool is a reason for another pool and not for another coin.
        last_switch: when this was last done; within the hold nothing is advised.
    """
    rules = coins.switch
    if here not in book.codes or not standings:
        return None
    if last_switch is not None and now - last_switch < timedelta(hours=rules.hold_h):
        return None
    at, net = book.codes.index(here), book.net
    if not net[at] > 0.0:
        return None
    sigma = daily_sigma(book.gross, at)
    gain, sure = switch_gain(net, at, sigma, rules.hold_h, rules.lost_min)
    with np.errstate(invalid="ignore"):
        pays = (gain[:, 0] > 0.0) & (gain[:, 1] >= rules.minimum_gain_share * net[at])
    if not pays.any():
        return None
    best = int(np.argmax(np.where(pays, gain[:, 1], -np.inf)))
    rate = sum(one.hashrate_ths for one in standings)
    code, url = book.codes[best], book.urls[best]
    assert url is not None, "a coin without a trusted pool has no net revenue"
    low, middle, high = (float(value) * rate for value in gain[best])
    order = np.argsort(-np.nan_to_num(gain[:, 1], nan=-np.inf), kind="stable")
    others = [
        (f"stay with {here}", 0.0, "what is hashed for now")
        if k == at
        else (f"switch to {book.codes[k]}", float(gain[k, 1]) * rate, _reason(gain[k], gain[best]))
        for k in map(int, order)
        if k != best and np.isfinite(gain[k, 1])
    ]
    inputs: dict[str, float | str | None] = {
        f"{c.lower()}_net_usd_per_ths_day": float(n) if np.isfinite(n) else None
        for c, n in zip(book.codes, net, strict=True)
    }
    inputs |= {
        "relative_volatility_per_day": float(sigma[best]),
        "hashrate_ths": rate,
        "hold_h": rules.hold_h,
        "lost_min": rules.lost_min,
        "kept_share": float(book.kept[best]),
    }
    binds = [f"{c}: no trusted pool" for c, u in zip(book.codes, book.urls, strict=True) if u is None]
    return Finding(
        kind="coin_switch",
        subject=f"coin:{code}",
        now=f"{here}",
        then=f"{code} at {shown(url)}",
        standings=standings,
        hashrate_ths=rate,
        power_w=sum(one.power_w for one in standings),
        gain_usd_per_day=(low, middle, high),
        confidence=float(sure[best]),
        summary=f"{code} pays {1000.0 * net[best]:.2f} USD/PH/day after fees and risks, "
        f"{here} {1000.0 * net[at]:.2f}; {rules.lost_min:g} min of shares are lost in the switch",
        inputs=inputs,
        others=others,
        binds=binds,
        steps=[
            f"Check that an account for {code} stands at {shown(url)} and pays to an address of yours",
            f"Put {shown(url)} first in pools.yaml",
            "Look what would change: hashmargin pools set --config SITE.yaml --pools pools.yaml",
            "Stop the agent, run it again with --yes, start the agent",
            NOTHING_IS_SENT,
        ],
        model="market history, random walk of relative revenue",
        looks_ahead_h=rules.hold_h,
    )


def _reason(gain: Floats, best: Floats) -> str:
    if gain[1] < best[1]:
        return "earns less"
    return "its lower bound does not pay for the switch"
