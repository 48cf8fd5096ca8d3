"""How good held-out predictions are: error, bias, coverage, direction and regret, by whatever matters.

Takes predictions of rows that no model was fitted on (`trainer.held_out`) and nothing else. What the numbers
mean for promotion is said in `trainer.report_verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.graph import Floats
from trainer.held_out import KWH_PER_W_DAY, HeldOut, LevelCurve

QUANTITIES = ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
# Errors of these two are relative to what was observed; of the others in their own unit.
RELATIVE = ("hashrate_ths", "power_w")
# Revenue per energy cost of the unit at its best level, from a dear hour to a cheap one.
STRESS_MARGINS = (0.85, 1.0, 1.1, 1.25, 1.5, 2.0)
# A change of profit smaller than this share of revenue is a tie: readings alone vary by as much.
TIE = 0.005
_PAIR_GAP_S = 12 * 3600.0
_SAME_SHARE = 0.005
_LEAST_ROWS = 20
_BINS = 40
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_SHARES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
_MOST_SAMPLES = 12

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How predictions of one quantity did on one group of rows. None where too few rows tell.

    Args:
        error: median of |predicted - observed|, of what was observed for hashrate and power.
        error_p90: nine in ten rows are nearer than this.
        bias: median of predicted - observed, likewise.
        standard_error: of `error`, from the spread between units: rows of one unit err together.
        coverage: share of rows inside their 80 % interval. below, above: shares that fell out on each side.
        coverage_standard_error: of `coverage`, between units.
        width: median width of the interval, of the predicted middle for hashrate and power.
    """

    rows: int
    units: int
    error: float | None
    error_p90: float | None
    bias: float | None
    standard_error: float | None
    coverage: float | None
    below: float | None
    above: float | None
    coverage_standard_error: float | None
    width: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """One group of rows: its name and each quantity's accuracy."""

    name: str
    quantities: dict[str, Accuracy]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Shape of predicted / observed - 1: a histogram, quantiles, and the same quantiles of a normal one.

    Args:
        edges: [B+1] of the histogram; rows beyond the ends are in the end bins. shares: [B] of all rows.
        levels, quantiles, normal: what share lies below, where, and where it would of a normal distribution
            with the same median and quartiles.
    """

    edges: list[float]
    shares: list[float]
    levels: list[float]
    quantiles: list[float]
    normal: list[float]


@dataclass(frozen=True, slots=True)
class Direction:
    """Whether profit moved the way that was predicted on the eve of a change of setting.

    Profit before and after is taken at the later moment's prices, so that the market moves nothing. A move
    smaller than `TIE` of revenue is a tie, on either side; ties are counted and judged apart.

    Args:
        table: rows predicted up, tie, down; columns observed up, tie, down.
        accuracy: right of the pairs where neither side is a tie; None without any. low, high: its 90 %
            Wilson interval, taken as if pairs were independent.
        usual: what always guessing the more common direction would have scored.
    """

    pairs: int
    table: list[list[int]]
    accuracy: float | None
    low: float | None
    high: float | None
    usual: float | None


@dataclass(frozen=True, slots=True)
class Regret:
    """Profit lost by choosing each unit's setting by the predicted instead of the observed curve.

    Args:
        usd_per_unit_day: mean over units at the prices of the day; standard_error: between units.
        best_usd_per_unit_day: what the best choice earns. nominal_usd_per_unit_day: what running at the
            highest observed level loses against it.
        share: of the best profit, over `STRESS_MARGINS`; share_standard_error: between units.
    """

    name: str
    units: int
    usd_per_unit_day: float | None
    standard_error: float | None
    best_usd_per_unit_day: float | None
    nominal_usd_per_unit_day: float | None
    share: float | None
    share_standard_error: float | None


@dataclass(frozen=True, slots=True)
class SampledCurve:
    """Predicted beside observed curve of one unit, [L] each; of the prediction its median over moments."""

    site: str
    miner: str
    model: str
    share: list[float]
    rate: list[float]
    power: list[float]
    predicted_rate: list[float]
    predicted_power: list[float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that held-out predictions tell.

    Args:
        overall, by_*: rows whose hardware model the predicting model had learned from.
        unseen: the same of rows whose hardware model was left out altogether; unseen_by_model likewise.
        start, end: moments of the first and the last held-out row.
    """

    rows: int
    units: int
    start: datetime
    end: datetime
    overall: Group
    by_model: list[Group]
    by_firmware: list[Group]
    by_setting: list[Group]
    by_week: list[Group]
    by_month: list[Group]
    unseen: Group | None
    unseen_by_model: list[Group]
    residuals: dict[str, Residuals]
    direction: Direction
    regret: Regret | None
    regret_by_model: list[Regret]
    sampled: list[SampledCurve]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers to six significant digits."""
        tree: dict[str, Any] = _plain(asdict(self))
        return tree


def evaluate(held: HeldOut, firmware: Sequence[str] | None = None) -> Evaluation:
    """Evaluate `held`.

    Args:
        firmware: [N] of each row; None where nobody knows.

    Raises:
        ValueError: no row has a hardware model that was learned from.
    """
    seen = held.rows(held.seen)
    if not len(seen):
        raise ValueError("no held-out rows")
    unseen = held.rows(~held.seen)
    kinds = np.array(firmware, dtype=np.str_)[held.seen] if firmware is not None else None
    models = np.array(held.models)
    level = np.searchsorted(_SHARES, seen.share, side="right") - 1
    curves = [curve for curve in held.curves if curve.seen]
    regrets = [(curve, *_regret(curve)) for curve in curves]
    return Evaluation(
        rows=len(seen),
        units=len(np.unique(seen.unit)),
        start=datetime.fromtimestamp(float(seen.at_s.min()), UTC),
        end=datetime.fromtimestamp(float(seen.at_s.max()), UTC),
        overall=judge("all", seen, np.ones(len(seen), dtype=np.bool_)),
        by_model=_groups(seen, models[seen.model]),
        by_firmware=_groups(seen, kinds) if kinds is not None else [],
        by_setting=_groups(seen, np.array([f"{i}{_level_name(i)}" for i in level]), strip=1),
        by_week=_groups(seen, np.array([_week(at) for at in seen.at_s])),
        by_month=_groups(
            seen, np.array([f"{datetime.fromtimestamp(float(at), UTC):%Y-%m}" for at in seen.at_s])
        ),
        unseen=judge("never seen", unseen, np.ones(len(unseen), dtype=np.bool_)) if len(unseen) else None,
        unseen_by_model=_groups(unseen, models[unseen.model]) if len(unseen) else [],
        residuals={name: shape for name in RELATIVE if (shape := _shape(seen, name)) is not None},
        direction=direction(seen),
        regret=_regret_of("all", regrets) if regrets else None,
        regret_by_model=[
            _regret_of(name, own)
            for number, name in enumerate(held.models)
            if (own := [part for part in regrets if part[0].model == number])
        ],
        sampled=[_sampled(held, curve) for curve in _sample(curves)],
    )


def judge(name: str, held: HeldOut, keep: Mask) -> Group:
    """Accuracy of every quantity on the rows of `held` that a mask names."""
    return Group(name, {quantity: _accuracy(held, quantity, keep) for quantity in QUANTITIES})


def _accuracy(held: HeldOut, quantity: str, keep: Mask) -> Accuracy:
    observed, predicted = getattr(held, quantity), held.predicted[quantity]
    keep = keep & np.isfinite(observed) & np.isfinite(predicted).all(axis=1)
    observed, predicted, unit = observed[keep], predicted[keep], held.unit[keep]
    low, middle, high = predicted.T
    off, width = middle - observed, high - low
    if quantity in RELATIVE:
        off, width = off / observed, width / middle
    inside = (low <= observed) & (observed <= high)
    units = np.unique(unit)
    if not len(off):
        return Accuracy(0, 0, *(None,) * 9)
    return Accuracy(
        rows=len(off),
        units=len(units),
        error=float(np.median(np.abs(off))),
        error_p90=float(np.quantile(np.abs(off), 0.9)),
        bias=float(np.median(off)),
        standard_error=_between([float(np.median(np.abs(off[unit == u]))) for u in units]),
        coverage=float(inside.mean()),
        below=float((observed < low).mean()),
        above=float((observed > high).mean()),
        coverage_standard_error=_between([float(inside[unit == u].mean()) for u in units]),
        width=float(np.median(width)),
    )


def unit_scores(held: HeldOut, quantity: str, keep: Mask) -> tuple[dict[int, float], dict[int, float]]:
    """Median error and coverage of each unit, by unit, on the rows that a mask names."""
    observed, (low, middle, high) = getattr(held, quantity), held.predicted[quantity].T
    keep = keep & np.isfinite(observed) & np.isfinite(middle) & np.isfinite(low) & np.isfinite(high)
    off = np.abs(middle - observed)
    if quantity in RELATIVE:
        off = off / observed
    inside = (low <= observed) & (observed <= high)
    rows = {int(unit): keep & (held.unit == unit) for unit in np.unique(held.unit[keep])}
    return (
        {unit: float(np.median(off[own])) for unit, own in rows.items()},
        {unit: float(inside[own].mean()) for unit, own in rows.items()},
    )


def regret_by_unit(curves: Sequence[LevelCurve]) -> dict[int, float]:
    """Mean USD per day that each unit loses at the prices of the day, by unit."""
    lost = {curve.unit: _regret(curve)[0] for curve in curves}
    return {unit: float(values.mean()) for unit, values in lost.items() if len(values)}


def direction(held: HeldOut) -> Direction:
    """Compare every change of a setting, as predicted on its eve, with the last steady row before it."""
    before, after = _pairs(held)
    predicted_power = held.predicted["power_w"][:, 1]
    # What another hour's hashprice would have paid is in proportion to it.
    ratio = held.hashprice[after] / held.hashprice[before]
    energy = held.price[after] * KWH_PER_W_DAY

    def moved(profit: Floats, power: Floats) -> tuple[Floats, Floats]:
        revenue = profit + held.price * KWH_PER_W_DAY * power
        then = ratio * revenue[before]
        change = (revenue[after] - energy * power[after]) - (then - energy * power[before])
        return change, TIE * np.maximum(then, revenue[after])

    true, limit = moved(held.profit_usd_per_day, held.power_w)
    told, _ = moved(held.predicted["profit_usd_per_day"][:, 1], predicted_power)
    known = np.isfinite(true) & np.isfinite(told)
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (_side(told, limit)[known], _side(true, limit)[known]), 1)
    right, wrong = int(table[0, 0] + table[2, 2]), int(table[0, 2] + table[2, 0])
    sure = right + wrong
    if not sure:
        return Direction(int(table.sum()), table.tolist(), None, None, None, None)
    low, high = wilson(right, sure)
    up = int(table[0, 0] + table[2, 0])
    return Direction(int(table.sum()), table.tolist(), right / sure, low, high, max(up, sure - up) / sure)


def _pairs(held: HeldOut) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each change its eve, and the unit's last steady row before it, at most 12 h earlier."""
    order = np.lexsort((held.at_s, held.unit))
    unit, changed, share = held.unit[order], held.changed[order], held.share[order]
    same = np.append((unit[1:] == unit[:-1]) & changed[1:] & (share[1:] == share[:-1]), False)
    eve = np.flatnonzero(changed & ~same)
    steady = np.where(~changed, np.arange(len(order)), -1)
    np.maximum.accumulate(steady, out=steady)
    last = steady[eve]
    eve, last = eve[last >= 0], last[last >= 0]
    keep = (unit[last] == unit[eve]) & (np.abs(share[eve] - share[last]) > _SAME_SHARE)
    keep &= held.at_s[order[eve]] - held.at_s[order[last]] <= _PAIR_GAP_S
    return order[last[keep]], order[eve[keep]]


def _side(moved: Floats, limit: Floats) -> NDArray[np.int64]:
    """0 up, 1 tie, 2 down."""
    return np.where(moved > limit, 0, np.where(moved < -limit, 2, 1)).astype(np.int64)


def wilson(hits: int, count: int, z: float = 1.645) -> tuple[float, float]:
    """Interval of a proportion, 90 % unless told, that stays within 0 and 1."""
    share = hits / count
    scale = 1.0 + z**2 / count
    middle = (share + z**2 / (2 * count)) / scale
    half = z * float(np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))) / scale
    return middle - half, middle + half


def _regret(curve: LevelCurve) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of one unit: lost, best and lost by the highest level [M] in USD per day; lost and best by margin."""
    lost, best, nominal = [], [], []
    for moment in range(len(curve.price)):
        hashprice, energy = curve.hashprice[moment], curve.price[moment] * KWH_PER_W_DAY
        truth = np.append(hashprice * curve.rate - energy * curve.power, 0.0)
        told = np.append(
            hashprice * curve.predicted_rate[moment] - energy * curve.predicted_power[moment], 0.0
        )
        if np.isfinite(truth).all() and np.isfinite(told).all():
            lost.append(truth.max() - truth[told.argmax()])
            best.append(truth.max())
            nominal.append(truth.max() - truth[-2])
    cost = float((curve.power / curve.rate).min())
    lost_share, best_share = [], []
    for margin in STRESS_MARGINS:
        hashprice = margin * cost
        truth = np.append(hashprice * curve.rate - curve.power, 0.0)
        told = hashprice * curve.predicted_rate - curve.predicted_power
        choice = np.append(told, np.zeros((len(told), 1)), axis=1).argmax(axis=1)
        scale = hashprice * float(curve.rate.max())
        lost_share.append(float((truth.max() - truth[choice]).mean()) / scale)
        best_share.append(float(truth.max()) / scale)
    return np.array(lost), np.array(best), np.array(nominal), np.array(lost_share), np.array(best_share)


def _regret_of(
    name: str, parts: Sequence[tuple[LevelCurve, Floats, Floats, Floats, Floats, Floats]]
) -> Regret:
    priced = [part for part in parts if len(part[1])]
    best_share = np.array([part[5].sum() for part in parts])
    lost_share = np.array([part[4].sum() for part in parts])
    total = float(best_share.sum())
    return Regret(
        name=name,
        units=len(parts),
        usd_per_unit_day=_mean([part[1].mean() for part in priced]),
        standard_error=_between([float(part[1].mean()) for part in priced]),
        best_usd_per_unit_day=_mean([part[2].mean() for part in priced]),
        nominal_usd_per_unit_day=_mean([part[3].mean() for part in priced]),
        share=float(lost_share.sum()) / total if total > 0.0 else None,
        share_standard_error=_ratio_error(lost_share, best_share),
    )


def _ratio_error(lost: Floats, best: Floats) -> float | None:
    """Standard error of sum(lost) / sum(best) over units, to first order."""
    if len(lost) < 2 or best.sum() <= 0.0:
        return None
    off = lost - lost.sum() / best.sum() * best
    return float(off.std(ddof=1) * np.sqrt(len(off)) / best.sum())


def _shape(held: HeldOut, quantity: str) -> Residuals | None:
    observed, middle = getattr(held, quantity), held.predicted[quantity][:, 1]
    off = middle / observed - 1.0
    off = off[np.isfinite(off)]
    if len(off) < _LEAST_ROWS:
        return None
    quantiles = np.quantile(off, _QUANTILES)
    # Rows far out would flatten everything else, so they share the end bins.
    reach = max(float(np.quantile(np.abs(off), 0.98)) * 1.1, 1e-4)
    edges = np.linspace(-reach, reach, _BINS + 1)
    counts, _ = np.histogram(np.clip(off, -reach, reach), edges)
    sigma = float(quantiles[5] - quantiles[3]) / 1.349
    normal = [float(quantiles[4]) + sigma * z for z in _NORMAL]
    return Residuals(
        edges.tolist(), (counts / len(off)).tolist(), list(_QUANTILES), quantiles.tolist(), normal
    )


# Where `_QUANTILES` of a standard normal distribution lie.
_NORMAL = (-2.3263, -1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449, 2.3263)


def _sample(curves: Sequence[LevelCurve]) -> list[LevelCurve]:
    """One unit of each hardware model, the one with most levels; then second ones, up to twelve."""
    found: list[LevelCurve] = []
    rest = sorted(curves, key=lambda c: (-len(c.share), c.unit))
    while rest and len(found) < _MOST_SAMPLES:
        round_of: dict[int, LevelCurve] = {}
        for curve in rest:
            round_of.setdefault(curve.model, curve)
        chosen = list(round_of.values())[: _MOST_SAMPLES - len(found)]
        found += chosen
        rest = [curve for curve in rest if not any(curve is c for c in chosen)]
    return sorted(found, key=lambda c: (c.model, c.unit))


def _sampled(held: HeldOut, curve: LevelCurve) -> SampledCurve:
    site, miner, model = held.units[curve.unit]
    return SampledCurve(
        site,
        miner,
        model,
        curve.share.tolist(),
        curve.rate.tolist(),
        curve.power.tolist(),
        np.median(curve.predicted_rate, axis=0).tolist(),
        np.median(curve.predicted_power, axis=0).tolist(),
    )


def _groups(held: HeldOut, names: NDArray[np.str_], strip: int = 0) -> list[Group]:
    """One group for each name with enough rows, in order of names; the first `strip` characters only sort."""
    return [
        judge(str(name)[strip:], held, own)
        for name in np.unique(names)
        if (own := names == name).sum() >= _LEAST_ROWS
    ]


def _level_name(level: int) -> str:
    low = 100.0 * _SHARES[level]
    if level + 1 == len(_SHARES):
        return f"{low:.0f} % and more"
    high = 100.0 * _SHARES[level + 1]
    return f"{low:.0f} to {high:.0f} %" if level else f"below {high:.0f} %"


def _week(at_s: float) -> str:
    """The Monday that the week began on."""
    day = datetime.fromtimestamp(float(at_s), UTC)
    return f"{day - timedelta(days=day.weekday()):%Y-%m-%d}"


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _between(values: Sequence[float]) -> float | None:
    """Standard error of a mean over units; None with fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
