"""Frames of a small site whose units are off their profile by known factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from agent.fleet import FleetFrame, Unit
from agent.hardware.catalogue import Catalogue
from agent.learning.live import Learner
from agent.models.inference import Curves, Economics, ProfilePredictor
from agent.reading import Board, MinerError, Reading
from agent.telemetry import TELEMETRY_COLUMNS

START = datetime(2026, 1, 5, tzinfo=UTC)
PROFILES = [Catalogue.load().profiles[key] for key in ("antminer-s19-pro", "whatsminer-m30s")]
NO_MONEY = Economics(0.05, 0.08, 1.0, 0.02, 4.0)


def unit(name: str, kind: int = 0, firmware: str = "luxos") -> Unit:
    profile = PROFILES[kind]
    return Unit(
        name,
        f"10.0.0.{name[1:]}",
        None,
        profile,
        firmware,
        profile.rated_hashrate_ths.value,
        profile.rated_power_w.value,
    )


def reading(serials: Sequence[str] = (), fault: str | None = None) -> Reading:
    boards = tuple(Board(index=i, serial=serial) for i, serial in enumerate(serials)) or None
    errors = (MinerError(code="1", text="x", severity=fault),) if fault is not None else None
    return Reading(boards=boards, errors=errors)


@dataclass
class SmallSite:
    """Units read every ten minutes; `rate` and `power` are factors on the profile's curve."""

    learner: Learner
    units: list[Unit]
    at: datetime = START
    bundle: str | None = "a"
    source: str | None = "metered"
    columns: dict[str, np.ndarray | float] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)

    def frame(self, share: float, rate: float = 1.0, power: float = 1.0) -> tuple[FleetFrame, Curves]:
        count = len(self.units)
        curves = self.curves(np.full((count, 1), share))
        columns = {column.name: np.full(count, np.nan) for column in TELEMETRY_COLUMNS}
        columns |= {
            "hashrate_ths": curves.hashrate_ths[:, 0, 1] * rate,
            "power_w": curves.power_w[:, 0, 1] * power,
            "setting_share": np.full(count, share),
            "is_hashing": np.ones(count),
            "uptime_s": np.full(count, 90000.0),
            "inlet_temp_c": np.full(count, 25.0),
            "rated_hashrate_ths": np.array([u.rated_hashrate_ths for u in self.units]),
            "rated_power_w": np.array([u.rated_power_w for u in self.units]),
        }
        columns |= {name: value * np.ones(count) for name, value in self.columns.items()}
        fresh, sources = np.ones(count, dtype=np.bool_), (self.source,) * count
        return FleetFrame(self.at, tuple(self.units), columns, fresh, sources), curves

    def curves(self, shares: np.ndarray) -> Curves:
        nothing = np.zeros((len(self.units), 1), dtype=np.float32)
        return ProfilePredictor(self.units).predict(nothing, shares, np.zeros(shares.shape), NO_MONEY)

    def run(self, hours: float, share: float = 1.0, rate: float = 1.0, power: float = 1.0) -> SmallSite:
        for _ in range(round(hours * 6)):
            frame, curves = self.frame(share, rate, power)
            readings = [self.readings.get(u.miner_id) for u in self.units]
            self.learner.observe(frame, readings, curves, self.bundle)
            self.at += timedelta(minutes=10)
        return self

    def corrected(self, share: float = 1.0) -> np.ndarray:
        """[N,2] what is believed of hashrate and power, over the predictor's."""
        frame, _ = self.frame(share)
        shares = np.full((len(self.units), 1), share)
        before = self.curves(shares)
        after = self.learner.correct(frame, shares, before, NO_MONEY, np.zeros(shares.shape))
        pairs = ((after.hashrate_ths, before.hashrate_ths), (after.power_w, before.power_w))
        return np.stack([a[:, 0, 1] / b[:, 0, 1] for a, b in pairs], axis=1)
