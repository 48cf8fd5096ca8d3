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
        loss_h: [N,K] hours of hashing lost by changing to it from a hashing setting.
        wake_loss_h: [N,K] hours of hashing lost by changing to it from a stop.
        settle_s: [N,K] seconds after which telemetry can judge the change from the present setting.
        restarts: [N,K] True where the change from the present setting restarts hashing, and so counts
            against the wear budget. A stop is no restart; leaving it is.
        wears: [N,K] True where a change to it from any hashing setting restarts hashing.
        permitted: [N,K] True where the miner's bounds allow the candidate; the present setting and the
            nominal one are listed for comparison even where they do not.
        current: [N] column of the present setting, -1 where unknown.
        nominal: [N] column of the default safe setting, -1 where there is none.
    """

    settings: tuple[tuple[Setting, ...], ...]
    shares: Floats
    stops: NDArray[np.bool_]
    loss_h: Floats
    wake_loss_h: Floats
    settle_s: Floats
    restarts: NDArray[np.bool_]
    wears: NDArray[np.bool_]
    permitted: NDArray[np.bool_]
    current: NDArray[np.int64]
    nominal: NDArray[np.int64]


def build_candidates(choices: Sequence[Choices], count: int = 12) -> Candidates:
    """Lay out the candidates of a fleet. The present setting is always among a miner's own."""
    rows = [_settings(choice, count) for choice in choices]
    width = max((len(row) for row in rows), default=0) or 1
    shape = (len(rows), width)
    shares, settle = np.full(shape, np.nan), np.full(shape, np.nan)
    loss, wake_loss = np.full(shape, np.nan), np.full(shape, np.nan)
    stops, wears, permitted, restarts = (np.zeros(shape, dtype=np.bool_) for _ in range(4))
    current = np.full(len(rows), -1, dtype=np.int64)
    nominal = np.full(len(rows), -1, dtype=np.int64)
    for i, (choice, row) in enumerate(zip(choices, rows, strict=True)):
        waking = choice.current is not None and choice.current.stops_hashing
        for k, (share, setting) in enumerate(row):
            shares[i, k], stops[i, k] = share, setting.stops_hashing
            change = _change(choice, setting)
            loss[i, k], wake_loss[i, k], wears[i, k] = change.loss_h, change.wake_loss_h, change.restarts
            stays = setting == choice.current
            settle[i, k] = 0.0 if stays else change.wake_settle_s if waking else change.settle_s
            restarts[i, k] = not stays and (waking or change.restarts)
            permitted[i, k] = any(bound.allows(setting) for bound in choice.bounds)
            if stays:
                current[i] = k
            if setting == choice.nominal:
                nominal[i] = k
    settings = tuple(tuple(setting for _, setting in row) for row in rows)
    return Candidates(
        settings, shares, stops, loss, wake_loss, settle, restarts, wears, permitted, current, nominal
    )


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


@dataclass(frozen=True, slots=True)
class _Change:
    """What entering a setting takes, from a hashing setting and from a stop."""

    loss_h: float
    wake_loss_h: float
    settle_s: float
    wake_settle_s: float
    restarts: bool


def _change(choice: Choices, target: Setting) -> _Change:
    if choice.profile is None or choice.firmware is None:
        return _Change(0.0, 0.0, 0.0, 0.0, restarts=False)
    control = choice.profile.control(choice.firmware, target.knob)
    if control is None:
        return _Change(1.0, 1.0, 3600.0, 3600.0, restarts=True)
    if target.stops_hashing:
        # What a stop loses it loses on the way back.
        return _Change(0.0, 0.0, control.settle_s, control.settle_s, restarts=False)
    slowest = max(c.settle_s for c in choice.profile.controls_of(choice.firmware))
    wake_s = control.settle_s if control.restarts_hashing else slowest
    lost_h = control.lost_hashing_s(stops=False) / 3600.0
    return _Change(lost_h, RAMP_LOSS * wake_s / 3600.0, control.settle_s, wake_s, control.restarts_hashing)
