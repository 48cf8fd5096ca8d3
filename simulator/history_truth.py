"""What the units of a made history would hash and draw at any setting: the truth to judge models by.

No telemetry holds it, since a unit shows only the settings it was held at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from agent.hardware.shares import hashrate_share_at
from simulator.history import HistoryGroup, HistoryPlan
from simulator.physics import Units, level_for_power, operate, throttle

Floats = NDArray[np.float64]
_DAY_S = 86400.0
# A unit that was run at more settings than its modes is set finely.
_MOST_MODES = 8


@dataclass(frozen=True, slots=True)
class TrueCurve:
    """One unit's steady state at K settings, without faults; [K] each.

    Args:
        share: nominal share of rated power.
        hashrate_ths: rising with the share, flat where the unit cannot follow.
        wall_w: power at the wall.
        told_w: the same as this unit's sensor or meter tells it on average.
    """

    share: Floats
    hashrate_ths: Floats
    wall_w: Floats
    told_w: Floats


class HistoryTruth:
    """The units of `plan`, as `simulator.history_lake.write_history` makes them from it."""

    def __init__(self, plan: HistoryPlan) -> None:
        self._plan = plan
        groups = [HistoryGroup(plan, model, count) for model, count in plan.models if count]
        self._places = {name: (g, i) for g in groups for i, name in enumerate(g.miner_ids)}

    def sound(self, miner_id: str, at_s: float) -> bool:
        """Whether no board of the unit fades and none of its fans stands still then. KeyError: unknown."""
        group, i = self._places[miner_id]
        faults, at = group.faults[i], np.array([at_s])
        return not (faults.faded(at).any() or faults.fan_out(at).any())

    def finely_set(self, miner_id: str) -> bool:
        """Whether the unit is set by watts or by frequency, not by a few modes. KeyError: unknown."""
        group, i = self._places[miner_id]
        return group.model.power_control is not None or len(np.unique(group.lives[i].share)) > _MOST_MODES

    def set_by_watts(self, miner_id: str) -> bool:
        """Whether what is set is a power limit. KeyError: unknown."""
        return self._places[miner_id][0].model.power_control is not None

    def curve(self, miner_id: str, at_s: float, shares: Sequence[float] | Floats) -> TrueCurve:
        """The unit's curve in the weather and at the age of `at_s`. KeyError: unknown."""
        group, i = self._places[miner_id]
        model, unit, share = group.model, _one(group.units, i), np.asarray(shares, dtype=np.float64)
        air = np.asarray(self._plan.ambient(np.array([at_s])))
        inlet = np.maximum(air + unit.inlet_c, model.thermal.inlet_minimum_c)
        age = group.age_days[i] + (at_s - self._plan.start_s) / _DAY_S
        free, control = throttle(model, inlet), model.power_control
        if control is None:
            level = np.array([hashrate_share_at(float(value)) for value in share]) * free
        else:
            rated_w = model.rated_power_w if group.profile is None else group.profile.rated_power_w.value
            watts = share * rated_w * (1.0 - control.headroom) / unit.bias
            level = np.minimum(level_for_power(model, group.table, unit, watts, inlet, age_days=age), free)
        state = operate(model, group.table, unit, level, inlet, age_days=age)
        told = float(unit.bias[0]) if model.sensor is not None else 1.0
        if group.has_meter[i] and model.sensor is None:
            told = float(group.meter[i])
        return TrueCurve(share, state.hashrate_ths, state.power_w, state.power_w * told)


def _one(units: Units, i: int) -> Units:
    return replace(units, **{f.name: getattr(units, f.name)[i : i + 1] for f in fields(units)})
