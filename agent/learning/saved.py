"""What is learned, as bytes for the agent's store and back, checked on the way in."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.learning.chips import HEAT_COLUMNS, ChipHeat
from agent.learning.decline import BaselineState, fresh_baselines
from agent.learning.state import UNIT_FIELDS, UnitLearning, believe, fresh
from agent.learning.tuning import Tuning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = 1
MOST_UNITS = 100_000
_MOST_TEXT = 200
_MOST_MARKS = 64
_UNREADABLE = (ValueError, TypeError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
_DIGEST_BYTES = 32
_METERED_VAR = 0.015**2
# Evidence this strong comes from no sensor.
_STRONGEST = 1e12
_BASELINE, _CHIPS = "baseline_", "chips_"
# Of these NaN means that nothing was seen yet.
_MAY_BE_NAN = ("predictor_var", "last_value", "last_share", "last_s", "open_")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a unit was when it was learned: another profile, firmware or hash board is another unit."""

    group: str
    boards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """Everything one site has learned.

    Args:
        ids, marks: of the rows.
        bundle: what the residuals are against; None is profile curves.
        heat: what their chips showed.
    """

    ids: tuple[str, ...]
    marks: tuple[Mark, ...]
    bundle: str | None
    units: UnitLearning
    baselines: BaselineState
    heat: ChipHeat


def group_numbers(marks: Sequence[Mark], doubt_var: Floats) -> Ints:
    """[N] the same number for units of one profile and firmware whose watts are known equally well.

    Args:
        doubt_var: [N,Q] as in `UnitLearning`; sensors that may all be off alike are kept apart from meters.
    """
    places: dict[tuple[str, bool], int] = {}
    doubtful = np.any(doubt_var > _METERED_VAR, axis=1)
    keys = ((mark.group, bool(doubtful[i])) for i, mark in enumerate(marks))
    return np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.int64)


def to_bytes(learned: Learned) -> bytes:
    """For the store; `from_bytes` is the way back."""
    head = {
        "version": VERSION,
        "ids": learned.ids,
        "groups": [mark.group for mark in learned.marks],
        "boards": [mark.boards for mark in learned.marks],
        "bundle": learned.bundle,
        "at_s": _finite(learned.units.at_s),
        "chips_seen_s": _finite(learned.heat.seen_s),
    }
    arrays = {name: getattr(learned.units, name) for name in UNIT_FIELDS}
    arrays |= {_BASELINE + name: getattr(learned.baselines, name) for name in BaselineState.__slots__}
    arrays |= {_CHIPS + name: getattr(learned.heat, name) for name in HEAT_COLUMNS}
    out = io.BytesIO()
    np.savez_compressed(
        out, head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), **arrays, allow_pickle=False
    )
    return sealed(out.getvalue())


def sealed(body: bytes) -> bytes:
    """With a digest before it, so that no damaged byte is ever parsed."""
    return hashlib.sha256(body).digest() + body


def from_bytes(raw: bytes, tuning: Tuning) -> Learned:
    """What `to_bytes` gave.

    Raises:
        DataError: damaged, of another version, or with numbers that nothing can have taught.
    """
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise DataError("what was learned of the units cannot be read: it is damaged")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as held:
            head = json.loads(held["head"].tobytes())
            arrays = {name: held[name] for name in held.files if name != "head"}
        if not isinstance(head, dict) or head.get("version") != VERSION:
            raise DataError("what was learned of the units is of another version")
        return _whole(head, arrays, tuning)
    except (*_UNREADABLE, RecursionError) as error:
        raise DataError(f"what was learned of the units cannot be read: {error}") from error


def _whole(head: dict[str, Any], arrays: dict[str, NDArray[Any]], tuning: Tuning) -> Learned:
    ids = tuple(_text(name) for name in head["ids"])
    groups = [_text(name) for name in head["groups"]]
    boards = [tuple(_text(serial) for serial in own[:_MOST_MARKS]) for own in head["boards"]]
    if not len(ids) == len(groups) == len(boards) <= MOST_UNITS or len(set(ids)) != len(ids):
        raise DataError("what was learned of the units: rows and names do not agree")
    marks = tuple(Mark(group, own) for group, own in zip(groups, boards, strict=True))
    units = fresh(len(ids), None, tuning)
    held: dict[str, Any] = {name: _like(name, arrays, getattr(units, name)) for name in UNIT_FIELDS}
    units = replace(units, **held)
    units = replace(units, group=group_numbers(marks, units.doubt_var))
    _check_evidence(units)
    blank = fresh_baselines(len(ids))
    kept = {name: _like(_BASELINE + name, arrays, getattr(blank, name)) for name in BaselineState.__slots__}
    units = replace(units, at_s=_moment(head["at_s"]))
    bundle = head["bundle"]
    return Learned(
        ids,
        marks,
        None if bundle is None else _text(bundle),
        believe(units),
        BaselineState(**kept),
        _heat(head, arrays, len(ids)),
    )


def _heat(head: dict[str, Any], arrays: dict[str, NDArray[Any]], count: int) -> ChipHeat:
    blank = ChipHeat.unknown(count)
    # Written before chips were followed.
    if not any(name.startswith(_CHIPS) for name in arrays):
        return blank
    columns: dict[str, Any] = {
        name: _like(_CHIPS + name, arrays, getattr(blank, name)) for name in HEAT_COLUMNS
    }
    return ChipHeat(**columns, seen_s=_moment(head["chips_seen_s"]))


def _finite(at_s: float) -> float | None:
    return at_s if math.isfinite(at_s) else None


def _moment(at_s: float | None) -> float:
    return float("nan") if at_s is None else float(at_s)


def _like(name: str, arrays: dict[str, NDArray[Any]], model: NDArray[Any]) -> NDArray[Any]:
    found = arrays[name]
    if found.shape != model.shape or found.dtype != model.dtype:
        raise DataError(f"what was learned of the units: {name} has shape {found.shape}, not {model.shape}")
    known = np.isfinite(found)
    may_be_nan = name.startswith((_BASELINE, _CHIPS, *_MAY_BE_NAN))
    if not (known.all() or (may_be_nan and (known | np.isnan(found)).all())):
        raise DataError(f"what was learned of the units: {name} holds numbers that are not finite")
    return found


def _check_evidence(units: UnitLearning) -> None:
    diagonal = np.diagonal(units.info, axis1=-2, axis2=-1)
    symmetric = np.allclose(units.info, np.swapaxes(units.info, -1, -2), rtol=1e-6, atol=1e-3)
    lowest = np.linalg.eigvalsh(units.info).min(initial=0.0)
    if not symmetric or np.abs(diagonal).max(initial=0.0) > _STRONGEST or lowest < -1e-3:
        raise DataError("what was learned of the units: evidence that nothing can have given")
    for name in ("noise_var", "white_var"):
        if (getattr(units, name) <= 0.0).any():
            raise DataError(f"what was learned of the units: {name} must be above 0")
    for name in ("own_var", "doubt_var", "predictor_var"):
        if (getattr(units, name) < 0.0).any():
            raise DataError(f"what was learned of the units: {name} must not be below 0")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > _MOST_TEXT:
        raise DataError("what was learned of the units: a name cannot be read")
    return value
