"""The SHA-256 coins a site could hash for, and what each pays after all that is lost on the way.

`coins.yaml` says what does not move; price, difficulty and fees come by file or source. Whether a switch
pays is `agent.advice.coin_switch`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from agent.errors import ConfigError
from agent.money.prices import MarketSeries, Series
from agent.quantiles import Z80
from agent.yamlfile import StrictModel, load_yaml

Floats = NDArray[np.float64]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]

DAYS_OF_HISTORY = 30
# Of the 80 % interval of a normal distribution.
_LEAST_CHANGES = 10
_HASHES_PER_DIFFICULTY = 2.0**32
_DAY_S = 86400.0


class CoinPool(StrictModel):
    """One pool at which a coin can be mined. Without its fee it is never compared."""

    url: Annotated[str, Field(min_length=1, max_length=256)]
    fee_share: Share


class Coin(StrictModel):
    """One coin. `subsidy` is what the miner keeps of a block in coins; it must be edited when it halves.

    The block interval is not asked for: difficulty fixes the work in a block, however long it takes.
    `orphan_share` of blocks earn nothing, `payout_risk_share` of what is earned is taken to be lost at the
    pool, `exchange_cost_share` is fee and spread of turning it into USD.
    """

    code: Annotated[str, Field(pattern=r"^[A-Z0-9]{2,10}$")]
    name: str
    algorithm: Literal["sha256d"] = "sha256d"
    subsidy: Annotated[float, Field(gt=0.0)]
    orphan_share: Share = 0.0
    payout_risk_share: Share = 0.0
    exchange_cost_share: Share = 0.0
    market: Path | None = None
    source: str | None = None
    pools: Annotated[list[CoinPool], Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.market is None) == (self.source is None):
            raise ValueError("needs exactly one of market (a CSV) and source (of the site file)")
        return self


class SwitchRules(StrictModel):
    """When a switch is worth a person's time."""

    minimum_gain_share: Share = 0.02
    hold_h: Annotated[float, Field(ge=1.0, le=2160.0)] = 72.0
    lost_min: Annotated[float, Field(ge=0.0, le=1440.0)] = 5.0
    max_age_h: Annotated[float, Field(gt=0.0, le=168.0)] = 48.0
    minimum_accepted_shares: Annotated[int, Field(ge=100)] = 2000


class CoinsFile(StrictModel):
    """The whole of `coins.yaml`."""

    switch: SwitchRules = SwitchRules()
    coins: Annotated[list[Coin], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        codes = [coin.code for coin in self.coins]
        urls = [pool.url.lower() for coin in self.coins for pool in coin.pools]
        for name, values in (("coin", codes), ("pool", urls)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name} {twice[0]} stands twice; what is hashed for must be clear from it")
        return self


@dataclass(frozen=True, slots=True)
class CoinBook:
    """C coins over D days, the last of them now; NaN where unknown.

    Args:
        gross: [D,C] USD per TH/s and day that the network pays.
        kept: [C] share of it that arrives, by the cheapest pool that is trusted; NaN without one.
        urls: [C] that pool, None without one.
    """

    codes: tuple[str, ...]
    gross: Floats
    kept: Floats
    urls: tuple[str | None, ...]

    @property
    def net(self) -> Floats:
        """[C] USD per TH/s and day now, after everything."""
        return np.asarray(self.gross[-1] * self.kept)


def load_coins(path: Path) -> CoinsFile:
    """Read `coins.yaml`; market files are taken from its folder.

    Raises:
        ConfigError: it cannot be read or used; names file, line and key.
    """
    try:
        found = load_yaml(path, CoinsFile)
    except OSError as error:
        raise ConfigError(path, None, "", f"cannot be read: {error.strerror}") from error
    folder = path.resolve().parent
    coins = [
        coin if coin.market is None else coin.model_copy(update={"market": folder / coin.market})
        for coin in found.coins
    ]
    return found.model_copy(update={"coins": coins})


def gross_usd_per_ths_day(price_usd: Floats, difficulty: Floats, subsidy: float, fee_share: Floats) -> Floats:
    """What the network pays one TH/s in a day; arrays are [D], NaN where price or difficulty is unknown.

    Args:
        subsidy: coins per block.
        fee_share: fees as a share of subsidy and fees; unknown fees are left out.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        coins_per_block = subsidy / (1.0 - np.nan_to_num(fee_share))
        blocks_per_day = 1e12 * _DAY_S / (difficulty * _HASHES_PER_DIFFICULTY)
        gross = blocks_per_day * coins_per_block * price_usd
    return np.where(np.isfinite(gross) & (gross > 0.0), gross, np.nan)


def gross_history(market: MarketSeries, coin: Coin, now_s: float, max_age_h: float) -> Floats:
    """[D] daily up to now; a day without its own row has the last one's, at most `max_age_h` old.

    Rows after `now_s` are not looked at. What the file says of hashprice counts where price or difficulty
    is missing.
    """
    times = now_s - _DAY_S * np.arange(DAYS_OF_HISTORY, -1, -1, dtype=np.float64)

    def at(series: Series) -> Floats:
        if not len(series.times_s):
            return np.full(len(times), np.nan)
        index = np.searchsorted(series.times_s, times, side="right") - 1
        safe = np.maximum(index, 0)
        young = (index >= 0) & (times - series.times_s[safe] <= 3600.0 * max_age_h)
        return np.where(young, series.values[safe], np.nan)

    gross = gross_usd_per_ths_day(
        at(market.price_usd_per_btc), at(market.difficulty), coin.subsidy, at(market.fee_share)
    )
    return np.where(np.isfinite(gross), gross, at(market.hashprice))


def kept_share(coin: Coin, pool_fee_share: float) -> float:
    """The share of gross revenue that arrives as USD."""
    return (
        (1.0 - coin.orphan_share)
        * (1.0 - coin.payout_risk_share)
        * (1.0 - coin.exchange_cost_share)
        * (1.0 - pool_fee_share)
    )


def daily_sigma(gross: Floats, here: int) -> Floats:
    """[C] standard deviation per day of the log of each coin's revenue over that of coin `here`.

    It holds price and difficulty of both, and what they have in common drops out. NaN with fewer than ten
    daily changes; a day on which either coin's revenue stood still to the last digit is no change seen.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.diff(np.log(gross / gross[:, here : here + 1]), axis=0)
    # A feed that stands still is not a market without risk.
    moved = np.diff(gross, axis=0) != 0.0
    change = np.where(np.isfinite(change) & moved & moved[:, here : here + 1], change, np.nan)
    seen = np.isfinite(change).sum(axis=0)
    mean_square = np.nansum(change**2, axis=0) / np.maximum(seen, 1)
    sigma = np.where(seen >= _LEAST_CHANGES, np.sqrt(mean_square), np.nan)
    sigma[here] = 0.0
    return sigma


def switch_gain(
    net: Floats, here: int, sigma: Floats, hold_h: float, lost_min: float
) -> tuple[Floats, Floats]:
    """What leaving coin `here` for each coin brings over the hold.

    The mean of a random walk over T days lies sigma * sqrt(T / 3) from where it starts. The lost minutes of
    shares are spread over the hold.

    Returns:
        [C,3] q10, q50, q90 in USD per TH/s and day, and [C] the probability that it is above 0; NaN where a
        coin's net or sigma is unknown.
    """
    hold_d, lost_d = hold_h / 24.0, lost_min / 1440.0
    width = sigma * np.sqrt(hold_d / 3.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = net / net[here]
        quantiles = ratio[:, None] * np.exp(width[:, None] * np.array([-Z80, 0.0, Z80]))
        gain = net[here] * (quantiles - 1.0 - lost_d / hold_d)
        distance = np.log(ratio) - np.log1p(lost_d / hold_d)
        sure = normal_cdf(np.where(width > 0.0, distance / width, np.copysign(np.inf, distance)))
    return gain, np.where(np.isfinite(gain[:, 1]), sure, np.nan)


def normal_cdf(z: Floats) -> Floats:
    """[C] of the standard normal distribution; few values, so the exact one."""
    return np.array([0.5 * (1.0 + math.erf(float(value) / 2.0**0.5)) for value in np.asarray(z).ravel()])
