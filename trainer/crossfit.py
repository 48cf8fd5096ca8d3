"""Residuals on later time and other units, and the intervals and coverage that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from trainer.calibration import Intervals, Residuals, calibrate, conformal_quantile
from trainer.dataset import Dataset
from trainer.families import Family
from trainer.graph import Floats, NumpyOps
from trainer.power_model import (
    Curves,
    PowerModel,
    Temperature,
    fit_curves,
    fit_temperature,
    temperature_columns,
    with_cold_copies,
)
from trainer.profit_model import COST_RATIOS, ProfitModel, calibrate_joint, fit_paid, paid_columns, sigmas
from trainer.selection import finite, unit_groups
from trainer.shape import LEAST_SLOPE, WidthState, unit_state

_FOLDS = 8
# Fits without some of the hardware models.
_LEAVE_OUTS = 9
# The share of the time span before which a cross-fit learns and after which it is judged.
_CUT = 0.7
_LEAST_ROWS = 50
# Below this many rows a fold, fewer and earlier ones.
_USUAL_ROWS = 200
_FEWER_FOLDS, _EARLIER_CUT = 4, 0.6
_DEFAULT = {"hashrate": 0.08, "power": 0.12, "chip_temp": 10.0}
_COVER = 0.8
_MOST_INFLATION = 2.0
# The spread between units is judged from the units at hand: of U units, this many over U is added.
_FEW_UNITS = 4.0


@dataclass(frozen=True, slots=True)
class Held:
    """Residuals of rows that their model was not fitted on, [n] each; NaN where a target is not known.

    Args:
        row: which row of the dataset it is.
        fold: which cross-fit the row comes from; -1 for rows of a hardware model left out of it.
        model: hardware model, -1 as above.
        rate, power: observed minus predicted logarithm. temperature: in degrees.
        bare: whether the row stands here a second time, without its history.
        paid: observed over predicted paid rate, minus 1.
        rate_missing, power_missing, temperature_missing, tilt_unknown, distance: what widths depend on.
    """

    row: NDArray[np.int64]
    fold: NDArray[np.int64]
    model: NDArray[np.int64]
    unit: NDArray[np.int64]
    bare: NDArray[np.bool_]
    rate: Floats
    power: Floats
    temperature: Floats
    paid: Floats
    distance: Floats
    rate_missing: Floats
    power_missing: Floats
    temperature_missing: Floats
    tilt_unknown: Floats

    def rows(self, keep: NDArray[np.bool_]) -> Held:
        """The rows that a mask names."""
        return Held(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    def residuals(self, name: str, missing: str, keep: NDArray[np.bool_]) -> Residuals:
        """Those of one quantity that are known, among `keep`."""
        value = getattr(self, name)
        keep = keep & np.isfinite(value)
        parts = (value[keep], self.distance[keep], getattr(self, missing)[keep], self.tilt_unknown[keep])
        return Residuals(*parts, self.model[keep], self.unit[keep], self.bare[keep])

    def width_state(self, members: Floats) -> WidthState:
        """What the widths of these rows depend on, with their hardware models one-hot in `members` [n,H]."""
        return WidthState(
            members,
            self.distance[:, None],
            self.rate_missing[:, None],
            self.power_missing[:, None],
            self.tilt_unknown[:, None],
        )


def cross_fit(
    family: Family,
    dataset: Dataset,
    names: tuple[str, ...],
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
    watch: Callable[[Curves, NDArray[np.int64], int], None] = lambda curves, rows, fold: None,
) -> Held:
    """Predict every later row by a fit to earlier rows of other units, then by one without its model.

    Args:
        names: hardware models as the final model knows them.
        watch: shown the curves of each fit, the rows of `dataset` they are judged on, and the fold.

    Raises:
        DataError: too few rows.
    """
    start, end = float(dataset.at_s.min()), float(dataset.at_s.max())
    folds, share = _FOLDS, _CUT
    if (dataset.at_s > start + share * (end - start)).sum() < folds * _USUAL_ROWS:
        # A small lake is cut into fewer groups, so that each has enough rows to judge by.
        folds, share = _FEWER_FOLDS, _EARLIER_CUT
    cut = start + share * (end - start)
    early, late = dataset.end_s <= cut, dataset.at_s > cut
    group = unit_groups(dataset, folds, seed + 1)
    number = np.array([names.index(m) if m in names else -1 for m in dataset.models], dtype=np.int64)
    model = number[dataset.model]
    tasks = [(early & (group != k), late & (group == k), k) for k in range(folds)]
    if len(names) > 1:
        tasks += [
            (early & ~np.isin(model, out), late & np.isin(model, out), -1) for out in _left_out(len(names))
        ]
    parts = []
    for place, (train, test, fold) in enumerate(tasks):
        progress(place / len(tasks))
        if train.sum() >= _LEAST_ROWS and test.sum() >= _LEAST_ROWS:
            known = model[test] if fold >= 0 else np.full(int(test.sum()), -1)
            rows = np.flatnonzero(test)
            curves = fit_curves(family, dataset.rows(train), seed)
            watch(curves, rows, fold)
            parts.append(_judge(curves, dataset, train, rows, known, fold, seed))
    progress(1.0)
    if not any((part.fold >= 0).any() for part in parts):
        raise DataError("too few rows of later time and other units to calibrate intervals; give more days")
    return Held(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Held)})


def _left_out(models: int) -> list[NDArray[np.int64]]:
    """Hardware models that are left out together: each once, and few, so that enough is left."""
    parts = min(models, _LEAVE_OUTS)
    return [np.arange(part, models, parts) for part in range(parts)]


def _judge(
    curves: Curves,
    dataset: Dataset,
    early: NDArray[np.bool_],
    late: NDArray[np.int64],
    model: NDArray[np.int64],
    fold: int,
    seed: int,
) -> Held:
    train = dataset.rows(early)
    rows, copied = with_cold_copies(dataset.rows(late), np.random.default_rng(seed))
    ops = NumpyOps()
    features = rows.features.astype(np.float64)
    state = unit_state(ops, curves.view, features, rows.share[:, None])
    rate, power = curves.predict(rows.features, rows.share)
    columns, no_chip = temperature_columns(ops, curves.view, features, state)
    temperature = columns @ fit_temperature(curves.view, train)
    paid_share = np.clip(
        paid_columns(ops, curves.view, features, state) @ fit_paid(curves.view, train), 0.5, 1.0
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return Held(
            row=late[copied],
            fold=np.full(len(rows), fold, dtype=np.int64),
            model=model[copied],
            unit=rows.unit,
            bare=np.arange(len(rows)) >= len(late),
            rate=np.log(rows.hashrate_ths / rate),
            power=np.log(rows.power_w / power),
            temperature=rows.chip_temp_c - temperature,
            paid=rows.hashrate_ths * rows.effective / (rate * paid_share) - 1.0,
            distance=state.distance[:, 0],
            rate_missing=state.rate_unknown[:, 0],
            power_missing=state.power_unknown[:, 0],
            temperature_missing=no_chip[:, 0],
            tilt_unknown=state.tilt_unknown[:, 0],
        )


def _intervals(
    held: Held, kinds: NDArray[np.int64], inflation: Mapping[str, float], *, steep: bool
) -> list[Intervals]:
    """Intervals of hashrate, power and chip temperature."""
    known, unseen = (held.fold >= 0) & (held.model >= 0), held.model < 0
    found = []
    for name, column, steepest in (
        ("hashrate", "rate", LEAST_SLOPE["hashrate"] if steep else 0.0),
        ("power", "power", LEAST_SLOPE["power"] if steep else 0.0),
        ("chip_temp", "temperature", np.inf),
    ):
        rest = held.residuals(column, f"{column}_missing", unseen)
        seen = held.residuals(column, f"{column}_missing", known)
        own = calibrate(seen, rest if len(rest.value) else None, kinds, steepest, _DEFAULT[name])
        found.append(own.inflated(inflation.get(name, 1.0), steepest))
    return found


def assemble(
    curves: Curves,
    temperature: Floats,
    paid: Floats,
    held: Held,
    inflation: Mapping[str, float],
    *,
    steep: bool,
) -> ProfitModel:
    """Both models, calibrated on `held`.

    Args:
        temperature, paid: weights of `fit_temperature` and `fit_paid`.
        inflation: factors of `Coverage`, by quantity; 1 where absent.
        steep: whether the curves rise by at least `LEAST_SLOPE` everywhere, so that bounds may open.
    """
    kinds = curves.view.anchors.kinds()
    models = len(kinds)
    rate, watts, chip = _intervals(held, kinds, inflation, steep=steep)
    power = PowerModel(curves, rate, watts, Temperature(temperature, chip))
    rate_sigma, power_sigma = _sigmas(power, held)
    seen = (held.fold >= 0) & (held.model >= 0)
    joint = calibrate_joint(
        held.paid[seen],
        np.expm1(held.power[seen]),
        rate_sigma[seen],
        power_sigma[seen],
        held.model[seen],
        held.unit[seen],
        models,
    )
    # Beyond this a higher hashprice would lower the lower bound, or a dearer tariff raise the upper one.
    most = 0.9 / max(float(rate_sigma.max()), float(power_sigma.max()))
    return ProfitModel(power, paid, joint.inflated(inflation.get("profit", 1.0), most))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often 80 % intervals hold on units whose residuals they were not calibrated on.

    Args:
        inflation: by quantity, how much wider intervals must be than other units' residuals alone say, for
            80 % to hold on the unit at hand: units of one model differ, and few of them were seen.
        metrics: share inside and median width, overall and by hardware model.
    """

    inflation: dict[str, float]
    metrics: dict[str, Any]


def judge_coverage(held: Held, curves: Curves, *, steep: bool) -> Coverage:
    """Judge each fold by intervals calibrated on the other folds."""
    names = curves.view.anchors.names
    needed: dict[str, list[Floats]] = {name: [] for name in ("hashrate", "power", "chip_temp", "profit")}
    widths: dict[str, list[Floats]] = {name: [] for name in needed}
    models: list[NDArray[np.int64]] = []
    units: list[NDArray[np.int64]] = []
    folds = np.unique(held.fold[held.fold >= 0])
    for fold in folds if len(folds) > 1 else ():
        rest = held.rows(held.fold != fold)
        own = held.rows((held.fold == fold) & (held.model >= 0) & ~held.bare)
        model = assemble(curves, np.zeros(1), np.zeros(1), rest, {}, steep=steep)
        models.append(own.model)
        units.append(own.unit)
        for name, factor, width in _needed(model, own):
            needed[name].append(factor)
            widths[name].append(width)
    if not models:
        return Coverage({}, {})
    row_model, row_unit = np.concatenate(models), np.concatenate(units)
    inflation, metrics = {}, {}
    for name, parts in needed.items():
        factor, width = np.concatenate(parts), np.concatenate(widths[name])
        known = np.isfinite(factor)
        by = conformal_quantile(factor[known], _COVER) if known.any() else 1.0
        few = 1.0 + _FEW_UNITS / max(len(np.unique(row_unit[known])), 1)
        inflation[name] = float(np.clip(by * few, 1.0, _MOST_INFLATION))
        inside = np.where(known, factor <= inflation[name], np.nan)
        metrics[name] = {
            "overall": _share(inside),
            "inflation": finite(inflation[name]),
            "median_width": finite(float(np.median(width)) * inflation[name]),
            "by_model": {
                names[m]: {"coverage": _share(inside[own]), "rows": int(np.isfinite(inside[own]).sum())}
                for m in range(len(names))
                for own in (row_model == m,)
            },
        }
    return Coverage(inflation, metrics)


def _needed(model: ProfitModel, own: Held) -> list[tuple[str, Floats, Floats]]:
    """Name, how many times as wide each row's interval had to be (NaN unknown), and its width."""
    ops = NumpyOps()
    state = own.width_state(_members(own.model, len(model.power.curves.view.anchors.names)))
    found = []
    for name, value, missing, intervals in (
        ("hashrate", own.rate, own.rate_missing, model.power.hashrate_intervals),
        ("power", own.power, own.power_missing, model.power.power_intervals),
        ("chip_temp", own.temperature, own.temperature_missing, model.power.temperature.intervals),
    ):
        low, high = intervals.around(ops, state, missing[:, None])
        found.append((name, np.maximum(-value / low[:, 0], value / high[:, 0]), (low + high)[:, 0]))
    rate_sigma, power_sigma = _sigmas(model.power, own)
    factors, spans = [], []
    for ratio in COST_RATIOS:
        a, b = rate_sigma, ratio * power_sigma
        spread = np.sqrt(np.maximum(a**2 + b**2 - 2.0 * model.joint.correlation * a * b, 0.0))
        off = own.paid - ratio * np.expm1(own.power)
        low, high = spread * model.joint.low[own.model], spread * model.joint.high[own.model]
        factors.append(np.maximum(-off / low, off / high))
        spans.append(low + high)
    # One factor a row: the median over margins, as profit is judged at one margin at a time.
    found.append(("profit", np.median(factors, axis=0), np.mean(spans, axis=0)))
    return found


def _sigmas(power: PowerModel, held: Held) -> tuple[Floats, Floats]:
    """Standard deviations that the intervals speak of, for rows of `held`."""
    state = held.width_state(_members(held.model, len(power.curves.view.anchors.names)))
    rate, watts = sigmas(NumpyOps(), power, state)
    return rate[:, 0], watts[:, 0]


def _members(model: NDArray[np.int64], count: int) -> Floats:
    return np.asarray(model[:, None] == np.arange(count), dtype=np.float64)


def _share(hit: Floats) -> float | None:
    known = hit[np.isfinite(hit)]
    return finite(float(known.mean())) if len(known) else None
