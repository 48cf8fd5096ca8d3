"""The settings each miner may take now, as arrays over the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.hardware.bounds import Bounds
from agent.hardware.profile import RAMP_LOSS, HardwareProfile
from agent.hardware.shares import candidate_settings, nominal_share
from agent.setting import Setting

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choices:
    """What one miner is and may be set to.

    `current` is None where the firmware does not say; such a miner is not moved.
    """

    profile: HardwareProfile | None
    firmware: str | None
    bounds: tuple[Bounds, ...]
    current: Setting | None
    nominal: Setting | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate settings of N miners, K columns, sorted by share.

    Args:
        settings: per miner, its candidates.
        shares: [N,K] nominal share of rated power; NaN beyond a miner's last candidate.
        stops: [N,K] True where the candidate stops hashing.
        lost_hashing_h: [N,K] hours of full hashing lost by changing to it from the present setting.
        settle_s: [N,K] seconds after which telemetry can judge the change.
        restarts: [N,K] True where the change restarts hashing and so counts against the wear budget.
        permitted: [N,K] True where the miner's bounds allow the candidate; the present setting and the
            nominal one are listed for comparison even where they do not.
        current: [N] column of the present setting, -1 where unknown.
        nominal: [N] column of the default safe setting, -1 where there is none.
    """

    settings: tuple[tuple[Setting, ...], ...]
    shares: Floats
    stops: NDArray[np.bool_]
    lost_hashing_h: Floats
    settle_s: Floats
    restarts: NDArray[np.bool_]
    permitted: NDArray[np.bool_]
    current: NDArray[np.int64]
    nominal: NDArray[np.int64]


def build_candidates(choices: Sequence[Choices], count: int = 12) -> Candidates:
    """Lay out the candidates of a fleet. The present setting is always among a miner's own."""
    rows = [_settings(choice, count) for choice in choices]
    width = max((len(row) for row in rows), default=0) or 1
    shape = (len(rows), width)
    shares = np.full(shape, np.nan)
    stops = np.zeros(shape, dtype=np.bool_)
    lost = np.full(shape, np.nan)
    settle = np.full(shape, np.nan)
    restarts = np.zeros(shape, dtype=np.bool_)
    permitted = np.zeros(shape, dtype=np.bool_)
    current = np.full(len(rows), -1, dtype=np.int64)
    nominal = np.full(len(rows), -1, dtype=np.int64)
    for i, (choice, row) in enumerate(zip(choices, rows, strict=True)):
        for k, (share, setting) in enumerate(row):
            seconds, hours, restarting = _transition(choice, setting)
            shares[i, k], settle[i, k], lost[i, k] = share, seconds, hours
            stops[i, k], restarts[i, k] = setting.stops_hashing, restarting
            permitted[i, k] = any(bound.allows(setting) for bound in choice.bounds)
            if setting == choice.current:
                current[i] = k
            if setting == choice.nominal:
                nominal[i] = k
    settings = tuple(tuple(setting for _, setting in row) for row in rows)
    return Candidates(settings, shares, stops, lost, settle, restarts, permitted, current, nominal)


def _settings(choice: Choices, count: int) -> list[tuple[float, Setting]]:
    profile, firmware = choice.profile, choice.firmware
    if profile is None or firmware is None:
        return []
    found = list(candidate_settings(profile, firmware, choice.bounds, count, choice.current))
    # The present setting is the one to stay at even when a person put it outside today's bounds.
    for extra in (choice.current, choice.nominal):
        if extra is not None and extra not in found:
            found.append(extra)
    return sorted(((nominal_share(profile, firmware, s), s) for s in found), key=lambda pair: pair[0])


def _transition(choice: Choices, target: Setting) -> tuple[float, float, bool]:
    """Settle seconds, hours of hashing lost, and whether hashing restarts, for going to `target`."""
    if target == choice.current or choice.profile is None or choice.firmware is None:
        return 0.0, 0.0, False
    control = choice.profile.control(choice.firmware, target.knob)
    if control is None:
        return 3600.0, 1.0, True
    waking = choice.current is not None and choice.current.stops_hashing
    if waking and not control.restarts_hashing:
        slowest = max(c.settle_s for c in choice.profile.controls_of(choice.firmware))
        return slowest, RAMP_LOSS * slowest / 3600.0, True
    # A stop loses its time on the way back, so it pays now.
    lossy = control.restarts_hashing or target.stops_hashing
    return control.settle_s, control.lost_hashing_s(stops=target.stops_hashing) / 3600.0, lossy
