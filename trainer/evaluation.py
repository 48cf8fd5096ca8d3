"""How good held-out predictions are, by whatever matters: all that a report says of them.

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

from trainer.evaluation_accuracy import LEAST_ROWS, RELATIVE, Group, Residuals, judge, residuals
from trainer.evaluation_direction import Direction, direction
from trainer.evaluation_regret import Regret, regret_of, unit_regret
from trainer.held_out import HeldOut, LevelCurve

_SHARES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
_MOST_SAMPLES = 12


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
    regrets = [(curve.model, unit_regret(curve)) for curve in curves]
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
        residuals={name: shape for name in RELATIVE if (shape := residuals(seen, name)) is not None},
        direction=direction(seen),
        regret=regret_of("all", [own for _, own in regrets]) if regrets else None,
        regret_by_model=[
            regret_of(name, parts)
            for number, name in enumerate(held.models)
            if (parts := [own for model, own in regrets if model == number])
        ],
        sampled=[_sampled(held, curve) for curve in _sample(curves)],
    )


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
        if (own := names == name).sum() >= LEAST_ROWS
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
