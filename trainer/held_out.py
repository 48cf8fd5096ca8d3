"""Predictions of rows that no model was fitted on, with their intervals, beside what was observed.

This is all that an evaluation may see: every row is later than what its model learned from, and of
another unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from trainer.crossfit import Held, assemble
from trainer.dataset import Dataset
from trainer.graph import Floats, NumpyOps
from trainer.power_model import Curves
from trainer.profit_model import ProfitModel, sigmas
from trainer.scoring import moments_of, observed_levels, predicted_levels
from trainer.shape import WidthState

_MOMENTS = 8
# Row of a table by hardware model that speaks for one that was never seen.
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class LevelCurve:
    """One unit's curve as observed at the settings it was held at, and as predicted at several moments.

    Args:
        unit, model: index into `HeldOut.units` and `HeldOut.models`.
        seen: whether its hardware model was among those that the predicting model learned from.
        share: [L] in rising order, of rated power.
        rate, power: [L] observed medians, TH/s and W.
        predicted_rate, predicted_power: [M,L].
        hashprice, price: [M] USD/TH/day and USD/kWh at those moments.
        row: [M] which rows of the dataset they are.
    """

    unit: int
    model: int
    seen: bool
    share: Floats
    rate: Floats
    power: Floats
    predicted_rate: Floats
    predicted_power: Floats
    hashprice: Floats
    price: Floats
    row: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """N held-out rows. NaN where a quantity was not observed or an input is unknown.

    Args:
        at_s: [N] moment of decision, Unix seconds; what was observed comes after it.
        unit, model: [N] index into `units` and `models`.
        seen: [N] False where all units of the row's hardware model were kept from the predicting model.
        share: [N] candidate setting, of rated power. changed: [N] whether it was new.
        hashprice, price: [N] USD/TH/day and USD/kWh at the moment of decision.
        hashrate_ths, power_w, chip_temp_c, profit_usd_per_day: [N] observed in the window that followed.
        predicted: by the same names, [N,3] for q10, q50, q90.
        units: (site, miner, hardware model).
        curves: of units that were held at two settings or more.
        row: [N] which rows of the dataset they are.
    """

    at_s: Floats
    unit: NDArray[np.int64]
    model: NDArray[np.int64]
    seen: NDArray[np.bool_]
    share: Floats
    changed: NDArray[np.bool_]
    hashprice: Floats
    price: Floats
    hashrate_ths: Floats
    power_w: Floats
    chip_temp_c: Floats
    profit_usd_per_day: Floats
    predicted: dict[str, Floats]
    units: tuple[tuple[str, str, str], ...]
    models: tuple[str, ...]
    curves: tuple[LevelCurve, ...]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at_s)

    def rows(self, keep: NDArray[np.bool_]) -> HeldOut:
        """The rows that a mask names; curves stay."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, values in kept.items():
            if isinstance(values, np.ndarray):
                kept[name] = values[keep]
        kept["predicted"] = {name: values[keep] for name, values in self.predicted.items()}
        return HeldOut(**kept)


class CurveWatch:
    """Collects curves of held-out units from every fit of `trainer.crossfit.cross_fit`."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.curves: list[LevelCurve] = []

    def __call__(self, fitted: Curves, rows: NDArray[np.int64], fold: int) -> None:
        """Ask `fitted` for the curves of the units that `rows` are of."""
        test = self._dataset.rows(rows)
        for unit in np.unique(test.unit):
            levels = observed_levels(test, int(unit))
            if levels is None:
                continue
            own = moments_of(test, int(unit), _MOMENTS)
            rate, power = predicted_levels(fitted, test, own, levels.share)
            self.curves.append(
                LevelCurve(
                    unit=int(unit),
                    model=int(test.model[own[0]]),
                    seen=fold >= 0,
                    share=levels.share,
                    rate=levels.rate,
                    power=levels.power,
                    predicted_rate=rate,
                    predicted_power=power,
                    hashprice=test.hashprice[own],
                    price=test.price[own],
                    row=rows[own],
                )
            )


def held_out(
    dataset: Dataset,
    held: Held,
    curves: Curves,
    inflation: Mapping[str, float],
    watched: CurveWatch,
    *,
    steep: bool,
) -> HeldOut:
    """Predictions with intervals from residuals, each interval calibrated without the row's own unit.

    Args:
        held, curves, inflation, steep: as `trainer.crossfit.assemble` takes them.
    """
    held = held.rows(~held.bare)
    true_model = dataset.model[held.row]
    names = curves.view.anchors.names
    # Below the middle, the middle, above it.
    bounds = {name: np.full((len(held.row), 3), np.nan) for name in ("rate", "power", "temperature")}
    spread = {name: np.full(len(held.row), np.nan) for name in ("rate", "power")}
    joint = np.full((len(held.row), 3), np.nan)
    correlation = np.zeros(len(held.row))
    # A fold leaves out units; a fit without a hardware model leaves out everything of that model.
    parts = [(held.fold == k, False) for k in np.unique(held.fold[held.fold >= 0])]
    parts += [
        ((held.fold < 0) & (true_model == m), True) for m in np.unique(true_model[held.fold < 0]).tolist()
    ]
    for own, unseen in parts:
        rest = ~np.isin(true_model, true_model[own]) if unseen else ~np.isin(held.unit, held.unit[own])
        if not ((held.fold >= 0) & rest).any():
            continue
        model = assemble(curves, np.zeros(1), np.zeros(1), held.rows(rest), inflation, steep=steep)
        part = held.rows(own)
        known = np.where(part.fold >= 0, part.model, _UNKNOWN)
        for name, (low, high) in _half_widths(model, part, known, len(names)).items():
            bounds[name][own] = np.stack([-low, np.zeros(len(low)), high], axis=1)
        rate_sigma, power_sigma = _sigmas(model, part, known, len(names))
        spread["rate"][own], spread["power"][own] = rate_sigma, power_sigma
        low, high = model.joint.low[known], model.joint.high[known]
        joint[own] = np.stack([-low, np.zeros(len(low)), high], axis=1)
        correlation[own] = model.joint.correlation
    return _rows(dataset, held, bounds, spread, joint, correlation, tuple(watched.curves))


def _rows(
    dataset: Dataset,
    held: Held,
    bounds: Mapping[str, Floats],
    spread: Mapping[str, Floats],
    joint: Floats,
    correlation: Floats,
    curves: tuple[LevelCurve, ...],
) -> HeldOut:
    rows = dataset.rows(held.row)
    # Residuals are logarithms, so the prediction is what was observed divided by their exponential.
    rate, power = rows.hashrate_ths / np.exp(held.rate), rows.power_w / np.exp(held.power)
    temperature = rows.chip_temp_c - held.temperature
    paid = rows.hashrate_ths * rows.effective
    revenue = rows.hashprice * paid / (1.0 + held.paid)
    energy = rows.price * KWH_PER_W_DAY * power
    profit = revenue - energy
    a, b = revenue * spread["rate"], energy * spread["power"]
    sigma = np.sqrt(np.maximum(a**2 + b**2 - 2.0 * correlation * a * b, 0.0))
    return HeldOut(
        at_s=rows.at_s,
        unit=rows.unit,
        model=rows.model,
        seen=held.fold >= 0,
        share=rows.share,
        changed=rows.changed,
        hashprice=rows.hashprice,
        price=rows.price,
        hashrate_ths=rows.hashrate_ths,
        power_w=rows.power_w,
        chip_temp_c=rows.chip_temp_c,
        profit_usd_per_day=rows.hashprice * paid - rows.price * KWH_PER_W_DAY * rows.power_w,
        predicted={
            "hashrate_ths": rate[:, None] * np.exp(bounds["rate"]),
            "power_w": power[:, None] * np.exp(bounds["power"]),
            "chip_temp_c": temperature[:, None] + bounds["temperature"],
            "profit_usd_per_day": profit[:, None] + sigma[:, None] * joint,
        },
        units=dataset.units,
        models=dataset.models,
        curves=curves,
        row=held.row,
    )


def _half_widths(
    model: ProfitModel, part: Held, known: NDArray[np.int64], count: int
) -> dict[str, tuple[Floats, Floats]]:
    ops = NumpyOps()
    state = _width_state(part, known, count)
    found = {}
    for name, missing, intervals in (
        ("rate", part.rate_missing, model.power.hashrate_intervals),
        ("power", part.power_missing, model.power.power_intervals),
        ("temperature", part.temperature_missing, model.power.temperature.intervals),
    ):
        low, high = intervals.around(ops, state, missing[:, None])
        found[name] = (low[:, 0], high[:, 0])
    return found


def _sigmas(model: ProfitModel, part: Held, known: NDArray[np.int64], count: int) -> tuple[Floats, Floats]:
    state = _width_state(part, known, count)
    rate, power = sigmas(NumpyOps(), model.power, state)
    return rate[:, 0], power[:, 0]


def _width_state(part: Held, known: NDArray[np.int64], count: int) -> WidthState:
    members = np.asarray(known[:, None] == np.arange(count), dtype=np.float64)
    return part.width_state(members)
