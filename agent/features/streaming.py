"""Features of a whole fleet, streaming: take in a frame, give back one row of the table per miner.

The trainer drives the same code over history with `batch_features`. The table is `agent.features.table`;
`python -m agent.features.streaming` prints docs/features.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agent.errors import DataError
from agent.features.history import History, Kinds
from agent.features.inputs import (
    COUNTERS,
    FINE_MEANS,
    LOWS,
    SERIES,
    TILT_MEANS,
    Inputs,
    derive,
)
from agent.features.named_windows import blocks_of, history_windows, live_windows
from agent.features.table import FEATURES, Feature, evaluate, feature_hash, feature_names
from agent.features.validation import miner_keys, text_codes, unix_seconds
from agent.features.window_choice import LEVELS, WINDOWS_VARIABLE
from agent.features.windows import WINDOWS, Floats, Ints
from agent.fleet import FleetFrame
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import HardwareProfile
from agent.money.conditions import MARKET_COLUMNS, Conditions
from agent.telemetry import TELEMETRY_COLUMNS

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

_KINDS = Kinds(len(SERIES), len(FINE_MEANS), len(TILT_MEANS), len(LOWS), len(COUNTERS))
_VENDORS = {"bitmain": 0.0, "microbt": 1.0}
_COOLINGS = {"air": 0.0, "hydro": 1.0, "immersion": 2.0}
_PROFILE_COLUMNS = ("vendor_code", "cooling_code", "chip_max_c", "bound_low_share", "bound_high_share")


class FeatureState:
    """The streaming computation: window state of a fleet, bounded per miner.

    Args:
        miner_ids: the miners to begin with; a frame with others makes them known.

    Raises:
        DataError: an id stands twice.
    """

    def __init__(self, miner_ids: Sequence[str] = ()) -> None:
        self._history = History(miner_ids, _KINDS)
        self._profiles: tuple[HardwareProfile | None, ...] = ()
        self._facts: Floats = np.empty((len(_PROFILE_COLUMNS), 0))

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
        columns = derive(_clean(frame.columns)) | self._profile_columns(frame)
        count = len(frame.units)
        times_s = np.where(frame.fresh, frame.observed_s, frame.at.timestamp())
        inputs = Inputs(
            columns=columns,
            windows=live_windows(self._history, rows),
            times_s=np.minimum(times_s, frame.at.timestamp()),
            market={name: np.full(count, getattr(conditions, name)) for name in MARKET_COLUMNS},
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
        state._history = History.from_bytes(data, bytes.fromhex(feature_hash()), _KINDS)
        return state

    def _profile_columns(self, frame: FleetFrame) -> dict[str, Floats]:
        """What profiles say of each unit; looked up anew only where a unit has another one than before."""
        profiles = tuple(unit.profile for unit in frame.units)
        before = self._profiles
        if len(profiles) != len(before) or any(a is not b for a, b in zip(profiles, before, strict=True)):
            codes = [_profile_codes(profile) for profile in profiles]
            self._facts = np.array(codes, dtype=np.float64).reshape(len(codes), len(_PROFILE_COLUMNS)).T
            self._profiles = profiles
        return dict(zip(_PROFILE_COLUMNS, self._facts, strict=True))

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
            (profile key) and each of `MARKET_COLUMNS`. In any order, quickest in that of miner and time.
        profiles: by key; None takes the default catalogue.

    Rows count in order of time, as if each had arrived when it was read. Of two rows of one miner and time
    the first counts; the other shows its own present values beside the same windows.

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
    miners, _ = miner_keys(table)
    total = len(times_s)
    columns = {c.name: _column(table, c.name, total) for c in TELEMETRY_COLUMNS}
    columns |= _model_columns(table, total, profiles)
    market = {name: _column(table, name, total) for name in MARKET_COLUMNS}
    order = _order(miners, times_s)
    if order is not None:
        miners, times_s = miners[order], times_s[order]
    for begin, end in blocks_of(miners, times_s):
        span = slice(begin, end) if order is None else order[begin:end]
        block = {name: values[span] for name, values in columns.items()}
        block = derive(block | _clean(block))
        inputs = Inputs(
            columns=block,
            windows=history_windows(miners[begin:end], times_s[begin:end], block),
            times_s=times_s[begin:end],
            market={name: values[span] for name, values in market.items()},
        )
        chunk = np.empty((len(FEATURES), end - begin), dtype=out.dtype)
        evaluate(inputs, chunk.T)
        out[span] = chunk.T


def _order(miners: Ints, times_s: Floats) -> Ints | None:
    """Rows by miner and time, or None where they stand so already."""
    step = np.diff(miners)
    if ((step > 0) | ((step == 0) & (np.diff(times_s) >= 0))).all():
        return None
    return np.lexsort((times_s, miners))


def feature_docs() -> str:
    """docs/features.md, made from the table."""
    lines = [
        "# Features",
        "",
        "Made of `features/table.py`: `python -m agent.features.streaming > docs/features.md`. Do not edit.",
        "",
        f"{len(FEATURES)} features, in this order. Table hash: `{feature_hash()}`.",
        "",
        "Missing is NaN and stays NaN; the models impute inside their graph. A value beyond its range is",
        "moved to the nearest end. What has the window `market` is worked out once for a whole fleet, by",
        "`money/market_history.py`: a row of the market counts from its time on, and electricity prices are",
        "taken to be known to the end of the day (UTC), from noon on to the end of the next.",
        "",
        "The agent takes readings in as they arrive, late ones too; a second one of one time is ignored.",
        "History (`batch_features`) takes them by their time. Both give the same numbers to 1e-9 wherever",
        "readings came in order, and once late ones have come. There are no medians: they cannot be",
        "merged.",
        "",
        "Windows end with the running bucket, so their far edge is coarse to one bucket. These four are",
        f"always there. `{WINDOWS_VARIABLE}=3h,12h,3d` in the environment adds others (up to 1 h in steps",
        "of 5 min, up to 24 h of 30 min, up to 7 d of 6 h), each with mean, deviation and ends of rate and",
        "power, and up to 6 h with slopes. They are part of the hash: set it for `hashmargin train` and for",
        "the agent alike and train anew, else the bundle is refused. `python -m agent.features.streaming`",
        "prints the table as it is there.",
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


def _record(history: History, rows: Ints, times_s: Floats, columns: Mapping[str, Floats]) -> None:
    history.add(
        rows,
        times_s,
        series=np.stack([columns[name] for name in SERIES]),
        means=np.stack([columns[name] for name in FINE_MEANS]),
        slow=np.stack([columns[name] for name in TILT_MEANS]),
        lows=np.stack([columns[name] for name in LOWS]),
        uptime_s=columns["uptime_s"],
        counters=np.stack([columns[name] for name in COUNTERS]),
        share=columns["setting_share"],
    )


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


def _profile_codes(profile: HardwareProfile | None) -> tuple[float, ...]:
    """In the order of `_PROFILE_COLUMNS`."""
    if profile is None:
        return (math.nan,) * len(_PROFILE_COLUMNS)
    limit, bounds = profile.temperatures.chip_max_c, profile.search_bounds.power_limit
    return (
        _VENDORS[profile.vendor],
        _COOLINGS[profile.cooling],
        math.nan if limit is None else limit.value,
        bounds.minimum,
        bounds.maximum,
    )


def _model_columns(
    table: Mapping[str, ArrayLike], total: int, profiles: Mapping[str, HardwareProfile] | None
) -> dict[str, Floats]:
    if "model" not in table:
        return {name: np.full(total, np.nan) for name in _PROFILE_COLUMNS}
    known = Catalogue.load().profiles if profiles is None else profiles
    models, place = text_codes(table["model"], "model", total)
    codes = np.array([_profile_codes(known.get(model)) for model in models], dtype=np.float64)
    codes = codes.reshape(len(models), len(_PROFILE_COLUMNS))
    return {name: codes[place, j] for j, name in enumerate(_PROFILE_COLUMNS)}


if __name__ == "__main__":
    sys.stdout.write(feature_docs())
