"""What a live site brings to a round of advice: its prices over the horizon, and each unit as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.advice.maintenance import rate_of_the_rest
from agent.advice.record import Round, Standing
from agent.config import SiteConfig
from agent.features.streaming import feature_hash
from agent.fleet import FleetFrame
from agent.models.inference import Curves
from agent.money.conditions import Forecast
from agent.quantiles import Z80
from agent.reading import Reading
from agent.records import SettingRecord
from agent.site import Site


def round_of(config: SiteConfig, forecast: Forecast, now: datetime) -> Round:
    """The round of `now`: mean prices of the horizon with their spread, after pool fee and with cooling."""
    kept = 1.0 - config.market.pool_fee_share
    return Round(
        site_id=config.site.id,
        now=now,
        stands_h=config.advice.stands_h,
        hashprice_usd_per_ths_day=_mean_interval(
            kept * forecast.hashprice_usd_per_ths_day, kept * forecast.hashprice_sigma_usd_per_ths_day
        ),
        price_usd_per_kwh=_mean_interval(
            forecast.cost_usd_per_kwh, forecast.price_sigma_usd_per_kwh * forecast.pue
        ),
        feature_hash=feature_hash(),
    )


def standings_of(
    site: Site, readings: Sequence[Reading | None], frame: FleetFrame, curves: Curves
) -> list[Standing | None]:
    """Each member as it is; None where it is not read, does not hash, or its setting or draw is unknown.

    Args:
        readings: new ones of this cycle.
        curves: [N,1,3] what the models expect at the present setting.
    """
    measured, rate = frame.columns["power_w"], frame.columns["hashrate_ths"]
    modelled = curves.power_w[:, 0, 1]
    rest = np.array([rate_of_the_rest(reading) for reading in readings], dtype=np.float64)
    part = np.isfinite(rest)
    rate = np.where(part, np.fmin(rate, rest), rate)
    # Boards that do not hash do not draw, which a curve of the whole unit cannot know.
    with np.errstate(divide="ignore", invalid="ignore"):
        modelled = np.where(part, modelled * rate / curves.hashrate_ths[:, 0, 1], modelled)
    draw = np.where(np.isfinite(measured), measured, modelled)
    found: list[Standing | None] = []
    for i, (member, reading) in enumerate(zip(site.members, readings, strict=True)):
        setting = site.setting(member, reading)
        if setting is None or not np.isfinite(draw[i]) or not rate[i] > 0.0:
            found.append(None)
            continue
        model = member.profile.key if member.profile is not None else None
        now = SettingRecord.of(setting)
        found.append(Standing(member.miner_id, model, now, float(rate[i]), float(draw[i])))
    return found


def _mean_interval(values: NDArray[np.float64], sigma: NDArray[np.float64]) -> tuple[float, float, float]:
    """q10, q50, q90 of the mean over a horizon whose errors go together."""
    middle, half = float(np.mean(values)), Z80 * float(np.mean(sigma))
    return middle - half, middle, middle + half
