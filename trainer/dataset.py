"""From telemetry to training rows: what was known at a moment, what was set next, and what that brought.

Features come from `agent.features` and see nothing after the moment of decision; targets come from the
window after the setting had settled. What is learned from them is left to `trainer.families`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.streaming import batch_features, feature_names
from agent.money.market_history import market_columns
from agent.money.prices import MarketSeries, Series
from trainer.lake import POWER_METERED, Floats, Telemetry

# A change up to this long after the moment of decision is the candidate; later ones are another decision.
LEAD_S = 3 * 3600.0
# Long enough for a restart, the ramp and most of the warming up.
SETTLE_S = 2700.0
HOLD_S = 3 * 3600.0
_LEAST_HOLD_S = 3600.0
_LEAST_READINGS = 4
_DECIDE_EVERY_S = 3600.0
_SAME_SHARE = 0.005
_STOP_SHARE = 0.05
_HASHING_SHARE = 0.02
_LOST_WATCH_S = 2 * 3600.0
_CHUNK_ROWS = 400_000
MOST_ROWS = 500_000


class NoRows(DataError):
    """Telemetry from which nothing can be learned."""

    def __init__(self) -> None:
        super().__init__(
            "telemetry holds no stretch of 1 h at a known setting while hashing; "
            "training needs days of readings"
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """D rows: one moment of decision each. NaN where a target is not known.

    Args:
        features: [D,F] as the agent would have had them at `at_s`.
        share: [D] the setting in force over the window that follows, never a stop.
        hashrate_ths, power_w, chip_temp_c: [D] medians over that window while hashing; power of the readings
            that stand on a meter where there are enough, else of the unit's own.
        metered: [D] whether that power stands on a meter.
        effective: [D] rate that was paid over that window per median rate: interruptions, rejects and stale
            shares taken off.
        lost_h: [D] hours of hashing lost by the change itself; NaN where nothing changed.
        hashprice, price: [D] USD/TH/day and USD/kWh at the moment of decision.
        at_s, end_s: [D] moment of decision, end of the window.
        unit, model: [D] index into `units` and `models`.
        changed: [D] whether the setting was changed in between.
    """

    features: NDArray[np.float32]
    share: Floats
    hashrate_ths: Floats
    power_w: Floats
    metered: NDArray[np.bool_]
    chip_temp_c: Floats
    effective: Floats
    lost_h: Floats
    hashprice: Floats
    price: Floats
    at_s: Floats
    end_s: Floats
    unit: NDArray[np.int64]
    model: NDArray[np.int64]
    changed: NDArray[np.bool_]
    units: tuple[tuple[str, str, str], ...]
    models: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.share)

    def rows(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Dataset:
        """The rows that a mask or index names."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, values in kept.items():
            if isinstance(values, np.ndarray):
                kept[name] = values[keep]
        return Dataset(**kept)

    def with_features(self, features: NDArray[np.float32]) -> Dataset:
        """The same rows with other features."""
        return replace(self, features=features)

    def column(self, name: str) -> NDArray[np.float32]:
        """One feature [D] by name. Raises DataError where the table has none of that name."""
        names = feature_names()
        if name not in names:
            raise DataError(f"the feature table has no {name}")
        return self.features[:, names.index(name)]


def build_dataset(
    telemetry: Telemetry,
    market: MarketSeries,
    prices: Series,
    rng: np.random.Generator,
    progress: Callable[[float], None] = lambda done: None,
) -> Dataset:
    """All rows that `telemetry` gives.

    Raises:
        NoRows: there are none.
    """
    decisions = [_decisions(telemetry, unit) for unit in range(len(telemetry.units))]
    total = sum(len(d.row) for d in decisions)
    if not total:
        raise NoRows
    names = feature_names()
    blocks: list[NDArray[np.float32]] = []
    hashprices: list[Floats] = []
    energy: list[Floats] = []
    for units in _chunks(telemetry):
        progress(units[0] / len(telemetry.units))
        first, last = int(telemetry.starts[units[0]]), int(telemetry.starts[units[-1] + 1])
        at_s = telemetry.at_s[first:last]
        money = market_columns(market, prices, at_s)
        hashprice, price = money["hashprice_usd_per_ths_day"], money["price_usd_per_kwh"]
        wanted = np.concatenate([decisions[unit].row for unit in units]) - first
        table = {
            "at": at_s,
            "miner_id": np.array([f"{u}" for u in range(len(telemetry.units))])[telemetry.unit[first:last]],
            "model": np.array([unit[2] for unit in telemetry.units])[telemetry.unit[first:last]],
            **money,
            **{name: values[first:last] for name, values in telemetry.columns.items()},
        }
        blocks.append(batch_features(table)[wanted])
        hashprices.append(hashprice[wanted])
        energy.append(price[wanted])
    progress(1.0)
    models = tuple(sorted({unit[2] for unit in telemetry.units}))
    unit = np.repeat(np.arange(len(decisions)), [len(d.row) for d in decisions])
    model_of = np.array([models.index(u[2]) for u in telemetry.units], dtype=np.int64)
    dataset = Dataset(
        features=np.concatenate(blocks).reshape(total, len(names)),
        hashprice=np.concatenate(hashprices),
        price=np.concatenate(energy),
        at_s=telemetry.at_s[np.concatenate([d.row for d in decisions])],
        unit=unit,
        model=model_of[unit],
        units=telemetry.units,
        models=models,
        **{name: np.concatenate([getattr(d, name) for d in decisions]) for name in _TARGETS},
    )
    return sampled(dataset, rng, MOST_ROWS)


_TARGETS = (
    "share", "hashrate_ths", "power_w", "metered", "chip_temp_c", "effective", "lost_h", "end_s", "changed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Decisions:
    """Moments of decision of one unit with their targets; `row` counts rows of the whole telemetry."""

    row: NDArray[np.int64]
    share: Floats
    hashrate_ths: Floats
    power_w: Floats
    metered: NDArray[np.bool_]
    chip_temp_c: Floats
    effective: Floats
    lost_h: Floats
    end_s: Floats
    changed: NDArray[np.bool_]


def _decisions(telemetry: Telemetry, unit: int) -> _Decisions:
    first, last = int(telemetry.starts[unit]), int(telemetry.starts[unit + 1])
    at_s = telemetry.at_s[first:last]
    column = {name: values[first:last] for name, values in telemetry.columns.items()}
    share = _carried(column["setting_share"])
    changes = np.flatnonzero(np.abs(np.diff(share)) > _SAME_SHARE) + 1
    ends = np.append(at_s[changes], np.inf)

    hourly = np.flatnonzero(np.diff(at_s // _DECIDE_EVERY_S, prepend=-1.0) > 0)
    rows = np.unique(np.concatenate([hourly, changes - 1]))
    rows = rows[np.isfinite(share[rows])]
    following = np.searchsorted(changes, rows, side="right")
    change_s = ends[following]
    changed = change_s <= at_s[rows] + LEAD_S
    safe = np.minimum(following, max(len(changes) - 1, 0))
    candidate = np.where(changed, share[changes[safe]], share[rows]) if len(changes) else share[rows]
    start_s = np.where(changed, change_s + SETTLE_S, at_s[rows])
    # The next change after the one that is the candidate ends its window.
    until = np.where(changed, ends[np.minimum(following + 1, len(ends) - 1)], change_s)
    end_s = np.minimum(start_s + HOLD_S, until - 1.0)

    rate = column["hashrate_ths"]
    hashing = (rate > _HASHING_SHARE * column["rated_hashrate_ths"]) & (column["is_hashing"] != 0.0)
    ready = hashing[rows] | (share[rows] < _STOP_SHARE)
    keep = ready & (candidate >= _STOP_SHARE) & (end_s - start_s >= _LEAST_HOLD_S - 1.0)
    rows, candidate, changed = rows[keep], candidate[keep], changed[keep]
    start_s, end_s, change_s = start_s[keep], end_s[keep], change_s[keep]

    window = _Window(at_s, start_s, end_s)
    count = window.counts(np.isfinite(rate))
    medians = {
        name: window.medians(np.where(hashing, column[name], np.nan))
        for name in ("hashrate_ths", "power_w", "chip_temp_c")
    }
    # A meter is right where a miner's own figure is 5 to 20 % off: of a window with both, it alone counts.
    on_meter = hashing & (column[POWER_METERED] == 1.0)
    metered_w = window.medians(np.where(on_meter, column["power_w"], np.nan))
    metered = np.isfinite(metered_w)
    medians["power_w"] = np.where(metered, metered_w, medians["power_w"])
    paid = _paid(window, column)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = window.means(np.where(hashing, rate, np.where(np.isfinite(rate), 0.0, np.nan)))
        effective = np.clip(effective / medians["hashrate_ths"], 0.0, 1.1) * paid
    known = (count >= _LEAST_READINGS) & np.isfinite(medians["hashrate_ths"])
    lost_h = _lost(at_s, rate, rows, change_s, changed, medians["hashrate_ths"])
    return _Decisions(
        row=rows[known] + first,
        share=candidate[known],
        metered=metered[known],
        effective=effective[known],
        lost_h=lost_h[known],
        end_s=end_s[known],
        changed=changed[known],
        **{name: values[known] for name, values in medians.items()},
    )


class _Window:
    """The readings of one unit that fall into each of W windows, after `start_s` up to `end_s`."""

    def __init__(self, at_s: Floats, start_s: Floats, end_s: Floats) -> None:
        self.low = np.searchsorted(at_s, start_s, side="right")
        self.high = np.searchsorted(at_s, end_s, side="right")
        width = int(np.max(self.high - self.low, initial=1))
        place = self.low[:, None] + np.arange(max(width, 1))
        self._inside = place < self.high[:, None]
        self._place = np.minimum(place, max(len(at_s) - 1, 0))

    def _values(self, values: Floats) -> Floats:
        return np.where(self._inside, values[self._place], np.nan)

    def counts(self, known: NDArray[np.bool_]) -> Floats:
        return np.asarray(np.nansum(self._values(known.astype(np.float64)), axis=1), dtype=np.float64)

    def means(self, values: Floats) -> Floats:
        held = self._values(values)
        known = np.isfinite(held)
        return np.asarray(np.where(known, held, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))

    def medians(self, values: Floats) -> Floats:
        """NaN with fewer than four readings."""
        held = np.sort(self._values(values), axis=1)
        count = np.isfinite(held).sum(axis=1)
        rows = np.arange(len(held))
        low = held[rows, np.maximum((count - 1) // 2, 0)]
        high = held[rows, np.minimum(count // 2, held.shape[1] - 1)]
        return np.where(count >= _LEAST_READINGS, 0.5 * (low + high), np.nan)

    def growth(self, counter: Floats) -> Floats:
        """Sum of a counter's steps; a step down is a restart and counts what it restarted to."""
        step = np.diff(counter, prepend=np.nan)
        step = np.where(step < 0.0, counter, step)
        return np.asarray(np.nansum(self._values(step), axis=1), dtype=np.float64)


def _paid(window: _Window, column: dict[str, Floats]) -> Floats:
    """Accepted shares of all that were sent; 1 where none were counted."""
    accepted, rejected, stale = (
        window.growth(column[f"shares_{x}"]) for x in ("accepted", "rejected", "stale")
    )
    sent = accepted + rejected + stale
    return np.where(sent > 0.0, accepted / np.maximum(sent, 1.0), 1.0)


def _lost(
    at_s: Floats,
    rate: Floats,
    rows: NDArray[np.int64],
    change_s: Floats,
    changed: NDArray[np.bool_],
    after: Floats,
) -> Floats:
    """Hours of hashing that each change cost, against the rate that followed it."""
    out = np.full(len(rows), np.nan)
    # One decision per change tells: the one on its eve.
    last = changed & (np.append(change_s[1:] != change_s[:-1], True) if len(rows) else changed)
    for i in np.flatnonzero(last & np.isfinite(after)):
        low, high = np.searchsorted(at_s, [change_s[i], change_s[i] + _LOST_WATCH_S])
        part = np.nan_to_num(rate[low:high], nan=0.0)
        if high - low >= _LEAST_READINGS:
            step_h = float(at_s[high - 1] - at_s[low]) / (high - low - 1) / 3600.0
            out[i] = float(np.maximum(1.0 - part / after[i], 0.0).sum() * step_h)
    return out


def _carried(values: Floats) -> Floats:
    """The last known value at every row."""
    place = np.where(np.isfinite(values), np.arange(len(values)), -1)
    np.maximum.accumulate(place, out=place)
    return np.where(place >= 0, values[np.maximum(place, 0)], np.nan)


def _chunks(telemetry: Telemetry) -> list[list[int]]:
    """Units in groups small enough to compute the features of all their rows at once."""
    groups: list[list[int]] = [[]]
    held = 0
    for unit in range(len(telemetry.units)):
        count = int(telemetry.starts[unit + 1] - telemetry.starts[unit])
        if groups[-1] and held + count > _CHUNK_ROWS:
            groups.append([])
            held = 0
        groups[-1].append(unit)
        held += count
    return groups


def thinned(dataset: Dataset, rng: np.random.Generator, most_rows: int) -> Dataset:
    """At most `most_rows` rows. Changes, which are rare and tell the slope, are kept first, up to half."""
    if len(dataset) <= most_rows:
        return dataset
    drawn = rng.random(len(dataset))
    moved = np.flatnonzero(dataset.changed)
    steady = np.flatnonzero(~dataset.changed)
    first = max(most_rows // 2, most_rows - len(steady))
    moved = moved[np.argsort(drawn[moved])[:first]]
    steady = steady[np.argsort(drawn[steady])[: most_rows - len(moved)]]
    return dataset.rows(np.sort(np.concatenate([moved, steady])))


def sampled(dataset: Dataset, rng: np.random.Generator, most_rows: int) -> Dataset:
    """At most `most_rows` rows, all alike."""
    if len(dataset) <= most_rows:
        return dataset
    return dataset.rows(np.sort(rng.choice(len(dataset), size=most_rows, replace=False)))
