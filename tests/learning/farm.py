"""A farm with true curves, and a predictor that knows only the average unit of other physics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from agent.hardware.shares import hashrate_share_at
from agent.models.inference import Curves
from simulator.physics import CurveTable, Units, curve_table, draw_units, level_for_power, operate
from simulator.physics_file import ModelPhysics, default_physics
from simulator.physics_spread import drawn_set

GRID = np.linspace(0.5, 1.1, 7)


@dataclass(frozen=True)
class Farm:
    """`per_model` units of each model; `by_power`: settings are power limits, else frequencies."""

    models: tuple[tuple[ModelPhysics, CurveTable, Units, ModelPhysics], ...]
    group: np.ndarray
    by_power: bool
    width: tuple[np.ndarray, np.ndarray]
    age_days: float = 100.0

    @property
    def count(self) -> int:
        return len(self.group)

    def truth(self, share: np.ndarray, inlet_c: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
        """[N] or [N,K] shares -> hashrate and power as they really are."""
        flat = share if share.ndim == 2 else share[:, None]
        rate, power = np.empty_like(flat), np.empty_like(flat)
        for g, (model, table, units, _) in enumerate(self.models):
            rows = self.group == g
            for k in range(flat.shape[1]):
                at = flat[rows, k]
                inlet = np.full(len(at), inlet_c)
                level = frequency(at)
                if self.by_power:
                    level = level_for_power(
                        model, table, units, at * model.rated_power_w, inlet, age_days=self.age_days
                    )
                run = operate(model, table, units, level, inlet, age_days=self.age_days)
                rate[rows, k], power[rows, k] = run.hashrate_ths, run.power_w
        return rate.reshape(share.shape), power.reshape(share.shape)

    def honest_width(self) -> tuple[np.ndarray, np.ndarray]:
        """Half-widths that hold 80 % of this farm's units at each share of `GRID`."""
        shares = np.tile(GRID, (self.count, 1))
        curves = self.predict(shares)
        pairs = zip(self.truth(shares), (curves.hashrate_ths, curves.power_w), strict=True)
        rate, power = (
            np.maximum(np.quantile(np.abs(true / found[:, :, 1] - 1.0), 0.8, axis=0), 0.01)
            for true, found in pairs
        )
        return rate, power

    def predict(self, shares: np.ndarray) -> Curves:
        """[N,K] -> curves of the average unit, with 80 % intervals of `width` at each share."""
        curves = Curves.empty(*shares.shape)
        for g, (_, _, _, believed) in enumerate(self.models):
            rows = self.group == g
            table = curve_table(believed)
            one = average(believed)
            at = shares[rows].ravel()
            inlet = np.full(at.shape, 25.0)
            level = frequency(at)
            if self.by_power:
                level = level_for_power(believed, table, one, at * believed.rated_power_w, inlet)
            run = operate(believed, table, one, level, inlet)
            for q, out, middle in (
                (0, curves.hashrate_ths, run.hashrate_ths),
                (1, curves.power_w, run.power_w),
            ):
                middle = middle.reshape(shares[rows].shape)
                half = np.interp(shares[rows], GRID, self.width[q])
                out[rows] = np.stack([middle * (1 - half), middle, middle * (1 + half)], axis=2)
        return curves


def frequency(share: np.ndarray) -> np.ndarray:
    """The frequency percent that the agent takes to draw this share of rated power, as a share."""
    return np.array([hashrate_share_at(float(s)) for s in share])


def average(model: ModelPhysics) -> Units:
    one = np.ones(1)
    return Units(one, one, 0 * one, one, 0 * one, one, np.full((1, model.boards), 1.0 / model.boards))


def make_farm(per_model: int, seed: int, by_power: bool = True, models: int = 4) -> Farm:
    rng = np.random.default_rng(seed)
    believed = default_physics()
    real = drawn_set(believed, seed)
    found = []
    keys = [key for key in believed.models if not key.startswith("antminer-s9")]
    step = max(1, len(keys) // models)
    for key in keys[::step][:models]:
        model = real.models[key]
        found.append((model, curve_table(model), draw_units(model, rng, per_model), believed.models[key]))
    none = (np.zeros(len(GRID)), np.zeros(len(GRID)))
    farm = Farm(tuple(found), np.repeat(np.arange(models), per_model), by_power, none)
    return replace(farm, width=farm.honest_width())
