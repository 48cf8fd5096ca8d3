"""Scenes small enough to reckon by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.money.prices import MarketSeries, Series
from agent.planner.candidates import Candidates
from agent.setting import Knob, Setting
from simulator.backtest.farm import BacktestFarm, UnitName
from simulator.backtest.market import Grid
from simulator.backtest.scene import Rules, Scene

START_S = 1640995200.0  # 2022-01-01


def scene(
    price: Sequence[float],
    *,
    rate: Sequence[Sequence[float]] = ((0.0, 60.0, 100.0),),
    power: Sequence[Sequence[float]] = ((0.0, 1600.0, 3000.0),),
    soft: Sequence[Sequence[bool]] | None = None,
    hashprice: float | Sequence[float] = 0.24,
    known: Sequence[bool] | None = None,
    known_until: Sequence[int] | None = None,
    outside_c: Sequence[float] | None = None,
    budget: int = 4,
    hold: int = 1,
    restart_h: float = 0.25,
    step_s: int = 3600,
    btc: float = 20000.0,
    chip_c: float = 60.0,
) -> Scene:
    """Units with a stop first and nominal last. Power is 10 % more at 1 C than at 0 C."""
    rates, powers = np.array(rate, dtype=float), np.array(power, dtype=float)
    count, width = rates.shape
    steps = len(price)
    stops = np.zeros((count, width), dtype=np.bool_)
    stops[:, 0] = True
    wears = ~stops if soft is None else ~stops & ~np.array(soft)
    top = powers.max(axis=1, keepdims=True)
    settings = tuple(
        (Setting(Knob.STOP), *(Setting(Knob.POWER_LIMIT_W, float(w)) for w in row[1:])) for row in powers
    )
    nominal = np.full(count, width - 1, dtype=np.int64)
    table = Candidates(
        settings=settings,
        shares=powers / top,
        stops=stops,
        loss_h=np.where(wears, restart_h, 0.0),
        wake_loss_h=np.where(stops, 0.0, restart_h),
        settle_s=np.zeros((count, width)),
        restarts=wears,
        wears=wears,
        permitted=np.ones((count, width), dtype=np.bool_),
        current=nominal,
        nominal=nominal,
    )
    two = np.stack([rates, rates]), np.stack([powers, 1.1 * powers])
    chip = np.where(stops, 20.0, np.full((2, count, width), chip_c))
    farm = BacktestFarm(
        names=tuple(UnitName(f"unit-{i}", "made-up", "stock") for i in range(count)),
        units=(),
        candidates=table,
        outside_c=np.array([0.0, 1.0]),
        hashrate_ths=two[0],
        power_w=two[1],
        chip_c=chip,
        level=two[0] / 100.0,
        fan=chip / 100.0,
        chip_max_c=np.full(count, 90.0),
        restarts_per_day=np.full(count, budget, dtype=np.int64),
        offset_c=np.zeros(count),
        left_out={},
    )
    times = START_S + step_s * np.arange(steps)
    nothing = Series(np.empty(0), np.empty(0), 0.0)
    daily = Series(times[:1], np.atleast_1d(np.asarray(hashprice, dtype=float))[:1], 1e9)
    grid = Grid(
        start_s=START_S,
        step_s=step_s,
        price_usd_per_kwh=np.array(price, dtype=float),
        price_known=np.ones(steps, dtype=np.bool_) if known is None else np.array(known),
        known_until=np.full(steps, steps) if known_until is None else np.array(known_until),
        hashprice_usd_per_ths_day=np.broadcast_to(np.asarray(hashprice, dtype=float), steps).copy(),
        price_usd_per_btc=np.full(steps, btc),
        outside_c=np.zeros(steps) if outside_c is None else np.array(outside_c, dtype=float),
        day=((times - START_S) // 86400.0).astype(np.int64),
        pue=1.0,
        pool_fee_share=0.0,
        carried={"price": 0, "hashprice": 0, "weather": 0},
        prices=Series(times, np.array(price, dtype=float), float(step_s)),
        market=MarketSeries(daily, nothing),
    )
    return Scene(farm, grid, Rules(restart_h, hold, np.full(count, budget, dtype=np.int64)))


def drawn(seed: int, units: int = 3, steps: int = 60, hold: int = 1, budget: int = 2) -> Scene:
    """Units and prices by chance: soft and restarting settings, spikes, negative prices, missing hours."""
    rng = np.random.default_rng(seed)
    share = np.sort(rng.uniform(0.5, 1.0, (units, 3)), axis=1)
    rate = np.concatenate([np.zeros((units, 1)), 100.0 * share ** rng.uniform(0.6, 0.95, (units, 1))], axis=1)
    power = np.concatenate([np.full((units, 1), 30.0), 3000.0 * share], axis=1)
    price = rng.normal(0.06, 0.04, steps)
    price[rng.integers(0, steps, 2)] = 2.0
    soft = np.repeat(rng.random((units, 1)) < 0.5, 4, axis=1)
    return scene(
        price.tolist(),
        rate=rate.tolist(),
        power=power.tolist(),
        soft=soft.tolist(),
        hashprice=float(rng.uniform(0.03, 0.1)),
        known=(rng.random(steps) > 0.05).tolist(),
        outside_c=rng.uniform(0.0, 1.0, steps).tolist(),
        budget=budget,
        hold=hold,
        restart_h=float(rng.uniform(0.05, 0.4)),
    )
