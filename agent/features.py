"""Features of a whole fleet, streaming: take in a frame, give back one row of the table per miner.

The trainer drives the same code over history with `batch_features`. The table is `agent.feature_table`;
`python -m agent.features` prints docs/features.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agent.conditions import Conditions
from agent.errors import DataError
from agent.feature_inputs import COUNTERS, MEANS, SERIES, Inputs, derive
from agent.feature_table import FEATURES, Feature, evaluate, feature_hash, feature_names
from agent.fleet import FleetFrame
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import HardwareProfile
from agent.history import History
from agent.telemetry import TELEMETRY_COLUMNS
from agent.validation import miner_keys, unix_seconds
from agent.windows import LEVELS, WINDOWS, Floats, Ints

__all__ = [
    "FEATURES",
    "Feature",
    "FeatureState",
    "batch_features",
    "batch_features_exact",
    "feature_docs",
    "feature_hash",
    "feature_names",
]

_VENDORS = {"bitmain": 0.0, "microbt": 1.0}
_COOLINGS = {"air": 0.0, "hydro": 1.0, "immersion": 2.0}
_PROFILE_COLUMNS = ("vendor_code", "cooling_code", "chip_max_c")
_MARKET_COLUMNS = ("hashprice_usd_per_ths_day", "price_usd_per_kwh")
# Rows of history whose windows are held at once before they become features.
_CHUNK_ROWS = 20_000


class FeatureState:
    """The streaming computation: window state of a fleet, bounded per miner.

    Args:
        miner_ids: the miners to begin with; a frame with others makes them known.

    Raises:
        DataError: an id stands twice.
    """

    def __init__(self, miner_ids: Sequence[str] = ()) -> None:
        self._history = History(miner_ids, len(SERIES), len(MEANS), len(COUNTERS))

    @property
    def miner_ids(self) -> tuple[str, ...]:
        """Miners with a row, those that left lately included."""
        return self._history.miner_ids

    @property
    def nbytes(self) -> int:
        """Bytes of window state."""
        return self._history.nbytes

    def align(self, miner_ids: Sequence[str]) -> None:
        """Make `miner_ids` the fleet; miners known before keep their history, see `History.align`.

        Raises:
            DataError: an id stands twice.
        """
        self._history.align(miner_ids)

    def observe(self, frame: FleetFrame, conditions: Conditions) -> None:
        """Take in the fresh readings of a frame. A reading whose time was seen before is ignored.

        A frame earlier than the one before means that a clock was set back: what had been recorded for
        later moments is forgotten. `conditions` are those of the frame; no window holds them yet.
        """
        rows = self._rows(frame)
        self._history.move(frame.at.timestamp())
        fresh = np.flatnonzero(frame.fresh & np.isfinite(frame.observed_s))
        columns = derive({name: values[fresh] for name, values in _clean(frame.columns).items()})
        index = fresh if isinstance(rows, slice) else rows[fresh]
        _record(self._history, index, frame.observed_s[fresh], columns)

    def compute(self, frame: FleetFrame, conditions: Conditions) -> NDArray[np.float32]:
        """Features [N,F] of a frame that was observed; NaN where missing.

        Windows end with the bucket that holds the frame's time; nothing later is looked at.
        """
        return self.compute_exact(frame, conditions).astype(np.float32)

    def compute_exact(self, frame: FleetFrame, conditions: Conditions) -> Floats:
        """`compute` in double precision."""
        rows = self._rows(frame)
        if not self._history.rings.end_s >= frame.at.timestamp():
            self._history.move(frame.at.timestamp())
        codes = [_profile_codes(unit.profile) for unit in frame.units]
        facts = np.array(codes, dtype=np.float64).reshape(len(codes), len(_PROFILE_COLUMNS)).T
        columns = derive(_clean(frame.columns)) | dict(zip(_PROFILE_COLUMNS, facts, strict=True))
        count = len(frame.units)
        times_s = np.where(frame.fresh, frame.observed_s, frame.at.timestamp())
        inputs = Inputs(
            columns=columns,
            windows=_windows(self._history, rows),
            times_s=np.minimum(times_s, frame.at.timestamp()),
            hashprice_usd_per_ths_day=np.full(count, conditions.hashprice_usd_per_ths_day),
            price_usd_per_kwh=np.full(count, conditions.price_usd_per_kwh),
        )
        out = np.empty((len(FEATURES), count)).T
        evaluate(inputs, out)
        return out

    def to_bytes(self) -> bytes:
        """The state as bytes, marked with the feature table's hash and a checksum."""
        return self._history.to_bytes(bytes.fromhex(feature_hash()))

    @staticmethod
    def from_bytes(data: bytes) -> FeatureState:
        """Inverse of `to_bytes`.

        Raises:
            DataError: damaged, of another version, or made for another feature table.
        """
        state = FeatureState()
        state._history = History.from_bytes(
            data,
            bytes.fromhex(feature_hash()),
            series=len(SERIES),
            means=len(MEANS),
            counters=len(COUNTERS),
        )
        return state

    def _rows(self, frame: FleetFrame) -> Ints | slice:
        ids = tuple(unit.miner_id for unit in frame.units)
        if not self._history.knows(ids):
            self._history.align(ids)
        return self._history.rows(ids)


def batch_features(
    table: Mapping[str, ArrayLike], profiles: Mapping[str, HardwareProfile] | None = None
) -> NDArray[np.float32]:
    """Features [R,F] of history, row by row as the agent would have computed them live.

    Args:
        table: columns of R rows each: `miner_id`, `at` (UTC; datetime64, Unix seconds or datetimes), the
            telemetry columns (one that is absent counts as unknown), and where known `site_id`, `model`
            (profile key), `hashprice_usd_per_ths_day` and `price_usd_per_kwh`. In any order.
        profiles: by key; None takes the default catalogue.

    Raises:
        DataError: `miner_id` or `at` is missing or cannot be read, or a column has another length.
    """
    out = np.empty((len(unix_seconds(table)), len(FEATURES)), dtype=np.float32)
    _batch(table, profiles, out)
    return out


def batch_features_exact(
    table: Mapping[str, ArrayLike], profiles: Mapping[str, HardwareProfile] | None = None
) -> Floats:
    """`batch_features` in double precision."""
    out = np.empty((len(unix_seconds(table)), len(FEATURES)))
    _batch(table, profiles, out)
    return out


def _batch(
    table: Mapping[str, ArrayLike],
    profiles: Mapping[str, HardwareProfile] | None,
    out: NDArray[np.float32] | Floats,
) -> None:
    times_s = unix_seconds(table)
    miners, names = miner_keys(table)
    total = len(times_s)
    columns = _clean({c.name: _column(table, c.name, total) for c in TELEMETRY_COLUMNS})
    columns |= _model_columns(table, total, profiles)
    columns = derive(columns)
    market = {name: _column(table, name, total) for name in _MARKET_COLUMNS}

    history = History(names, len(SERIES), len(MEANS), len(COUNTERS))
    held: list[tuple[Ints, dict[str, Floats]]] = []
    waiting = 0
    for frame in _frames(times_s, miners):
        rows = miners[frame.index]
        history.move(frame.at_s)
        _record(history, rows, times_s[frame.index], {n: columns[n][frame.index] for n in _RECORDED})
        everyone = len(rows) == len(names)  # in order, as a frame is sorted by miner
        held.append((frame.index, _windows(history, slice(None) if everyone else rows)))
        waiting += len(rows)
        if waiting >= _CHUNK_ROWS:
            _flush(held, columns, times_s, market, out)
            waiting = 0
    _flush(held, columns, times_s, market, out)


def feature_docs() -> str:
    """docs/features.md, made from the table."""
    lines = [
        "# Features",
        "",
        "Made from `agent/feature_table.py` by `python -m agent.features > docs/features.md`. Do not edit.",
        "",
        f"{len(FEATURES)} features, in this order. Table hash: `{feature_hash()}`.",
        "",
        "Missing is NaN and stays NaN; the models impute inside their graph. A value beyond its range is",
        "moved to the nearest end. Windows end with the running bucket, so their far edge is coarse to one",
        "bucket:",
        "",
        "| window | buckets |",
        "|---|---|",
    ]
    for window in WINDOWS:
        seconds = LEVELS[window.level].seconds
        lines.append(f"| {window.name} | {window.buckets} of {seconds // 60} min |")
    lines += [
        "",
        "| # | name | unit | source | window | missing when | range |",
        "|---|---|---|---|---|---|---|",
    ]
    for i, f in enumerate(FEATURES):
        span = f"{f.low:g} to {f.high:g}"
        lines.append(f"| {i} | `{f.name}` | {f.unit} | {f.source} | {f.window} | {f.missing} | {span} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Frame:
    """Rows of history that the state can take at once: no miner twice, all in one bucket."""

    at_s: float
    index: Ints


def _frames(times_s: Floats, miners: Ints) -> Iterator[_Frame]:
    """Rows in order of time, cut into frames: the k-th one of a bucket holds each miner's k-th row in it."""
    bucket = (times_s // LEVELS[0].seconds).astype(np.int64)
    order = np.lexsort((times_s, miners, bucket))
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = (np.diff(bucket[order]) == 0) & (np.diff(miners[order]) == 0)
    place = np.arange(len(order))
    rank = place - np.maximum.accumulate(np.where(same, 0, place))
    again = np.lexsort((rank, bucket[order]))
    order, rank = order[again], rank[again]
    cuts = np.flatnonzero((np.diff(bucket[order]) != 0) | (np.diff(rank) != 0)) + 1
    for index in np.split(order, cuts):
        if len(index):
            # The end of the bucket: every frame of it stands at the same moment.
            end_s = float((bucket[index[0]] + 1) * LEVELS[0].seconds)
            yield _Frame(float(np.nextafter(end_s, 0.0)), index)


_RECORDED = ("uptime_s", "setting_share", *SERIES, *MEANS, *COUNTERS)


def _record(history: History, rows: Ints, times_s: Floats, columns: Mapping[str, Floats]) -> None:
    history.add(
        rows,
        times_s,
        series=np.stack([columns[name] for name in SERIES]),
        means=np.stack([columns[name] for name in MEANS]),
        uptime_s=columns["uptime_s"],
        counters=np.stack([columns[name] for name in COUNTERS]),
        share=columns["setting_share"],
    )


def _windows(history: History, rows: Ints | slice) -> dict[str, Floats]:
    """What the windows hold now, by the names that `Inputs.windows` uses; copies, not views."""
    found: dict[str, Floats] = {}
    for window in WINDOWS:
        merged = history.moments.merge(window, history.rings, rows)
        name = window.name
        found[f"{name}.count"] = merged.count
        found[f"{name}.mean"] = merged.mean
        found[f"{name}.m2"] = merged.m2
        found[f"{name}.low"] = merged.low
        found[f"{name}.high"] = merged.high
        found[f"{name}.slope_per_h"] = merged.slope_per_h
        found[f"{name}.means"] = history.means.merge(window, history.rings, rows)
    growth, restarts, hours = history.counters.growth(history.rings, rows)
    found |= {"growth": growth, "restarts": restarts, "growth_h": hours}
    found["since_s"] = history.since_s[rows].copy()
    return found


def _flush(
    held: list[tuple[Ints, dict[str, Floats]]],
    columns: Mapping[str, Floats],
    times_s: Floats,
    market: Mapping[str, Floats],
    out: NDArray[np.float32] | Floats,
) -> None:
    if not held:
        return
    index = np.concatenate([rows for rows, _ in held])
    windows = {name: np.concatenate([values[name] for _, values in held], axis=-1) for name in held[0][1]}
    held.clear()
    inputs = Inputs(
        columns={name: values[index] for name, values in columns.items()},
        windows=windows,
        times_s=times_s[index],
        hashprice_usd_per_ths_day=market["hashprice_usd_per_ths_day"][index],
        price_usd_per_kwh=market["price_usd_per_kwh"][index],
    )
    chunk = np.empty((len(FEATURES), len(index)), dtype=out.dtype).T
    evaluate(inputs, chunk)
    out[index] = chunk


def _clean(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """The telemetry columns, NaN where a value is physically impossible."""
    clean = {}
    for column in TELEMETRY_COLUMNS:
        values = columns[column.name]
        fits = (values >= column.minimum) & (values <= column.maximum)
        clean[column.name] = values if fits.all() else np.where(fits, values, np.nan)
    return clean


def _column(table: Mapping[str, ArrayLike], name: str, total: int) -> Floats:
    if name not in table:
        return np.full(total, np.nan)
    try:
        values = np.asarray(table[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name}: expected numbers: {error}") from error
    if values.shape != (total,):
        raise DataError(f"column {name}: has shape {values.shape}, at has {total} rows")
    return values


def _profile_codes(profile: HardwareProfile | None) -> tuple[float, float, float]:
    if profile is None:
        return (float("nan"),) * 3
    limit = profile.temperatures.chip_max_c
    chip_max = float("nan") if limit is None else limit.value
    return _VENDORS[profile.vendor], _COOLINGS[profile.cooling], chip_max


def _model_columns(
    table: Mapping[str, ArrayLike], total: int, profiles: Mapping[str, HardwareProfile] | None
) -> dict[str, Floats]:
    if "model" not in table:
        return {name: np.full(total, np.nan) for name in _PROFILE_COLUMNS}
    known = Catalogue.load().profiles if profiles is None else profiles
    text = np.asarray(table["model"], dtype=object)
    if text.shape != (total,):
        raise DataError(f"column model: has shape {text.shape}, at has {total} rows")
    models, place = np.unique(np.array([str(model) for model in text], dtype=object), return_inverse=True)
    codes = np.array([_profile_codes(known.get(model)) for model in models]).reshape(len(models), 3)
    return {name: codes[place, j] for j, name in enumerate(_PROFILE_COLUMNS)}


if __name__ == "__main__":
    sys.stdout.write(feature_docs())
