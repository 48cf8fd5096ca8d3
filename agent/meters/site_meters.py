"""The meters of one site over time: read them, believe them or not, fuse, and learn. One call for each cycle.

The steps are those of `reader`, `trust`, `fusion` and `offset`; here they only meet.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.clock import Clock
from agent.errors import DataError
from agent.meters.config import MeterConfig
from agent.meters.fusion import Floats, Fused, MeterMap, fuse, own_figures, with_power
from agent.meters.offset import Offsets, ratio_of_kind
from agent.meters.reader import MeterReader, MeterReadings
from agent.meters.trust import MeterFinding, MeterTrust, Verdict
from agent.telemetry import PollResult

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metered:
    """One cycle's outcome.

    Args:
        results: the polls, with the power that was found.
        fused: [N] power and source for every miner, also for one that has an outlet and was not read.
        findings: meters that began or ceased to be doubted.
    """

    results: list[PollResult]
    fused: Fused
    findings: tuple[MeterFinding, ...]


@dataclass(frozen=True, slots=True)
class PointState:
    """One figure of a meter, for showing: `power_w` and `age_s` None where it was never read."""

    key: str
    miners: tuple[str, ...]
    power_w: float | None
    age_s: float | None
    believed: bool
    error: str | None


class SiteMeters:
    """Everything about meters that lasts from cycle to cycle.

    Args:
        meters: the `meters` block of the site file, checked; may be empty.
        rows: from every name that a miner goes by (id, MAC, address) to its row.
        ids: [N] the lasting id of each miner, in the order of the rows.
        clock: tells how old figures are.
        saved: what `to_bytes` gave in an earlier run. If it is damaged, learning starts anew.

    Raises:
        ConfigError: a community or token cannot be read safely.
        InputError: a library is not installed, or a figure feeds a miner that has no row.
    """

    def __init__(
        self,
        meters: Sequence[MeterConfig],
        rows: Mapping[str, int],
        ids: Sequence[str],
        clock: Clock,
        saved: bytes | None = None,
    ) -> None:
        self._reader = MeterReader(meters, clock)
        self._chart = MeterMap.of(self._reader.points, rows, len(ids))
        self._trust = MeterTrust(self._reader.points)
        self._offsets = _restored(saved, ids)
        self._readings: MeterReadings | None = None
        self._verdict: Verdict | None = None

    def __bool__(self) -> bool:
        """False for a site without meters."""
        return bool(self._reader.points)

    @property
    def offsets(self) -> Offsets:
        """By how much each miner's own figure is off."""
        return self._offsets

    async def read(self) -> None:
        """Ask every meter once; meant to run beside the poll of the miners. Raises for none of them."""
        self._readings = await self._reader.read()

    def apply(
        self,
        results: Sequence[PollResult],
        ids: Sequence[str],
        max_age_s: float,
        modelled_w: Floats | None = None,
    ) -> Metered:
        """Give the polls of this cycle the power that the meters show.

        Args:
            results: [N] outcomes of polling, in the order of the rows.
            ids: [N] the lasting id of each miner now.
            max_age_s: older figures of meters are not used, in seconds of the clock.
            modelled_w: [N] watts expected at the present setting, NaN where unknown; only shares circuits.
        """
        own, source, read = own_figures(results)
        self._offsets.align(ids)
        if self._readings is None or not self:
            return Metered(list(results), Fused(own, source, np.zeros(len(own), dtype=np.bool_)), ())
        verdict = self._trust.look(self._readings, self._chart, own, max_age_s)
        expected = modelled_w if modelled_w is not None else np.full(len(own), np.nan)
        ratio = self._offsets.ratio
        others = ratio_of_kind([_kind(result) for result in results], ratio)
        fused = fuse(own, source, read, verdict.net_w, self._chart, ratio, expected, others)
        self._offsets.learn(own, fused)
        self._verdict = verdict
        return Metered(with_power(results, fused), fused, verdict.findings)

    def states(self) -> list[PointState]:
        """Every figure as it stood in the last cycle; nothing before the first."""
        readings, verdict = self._readings, self._verdict
        if readings is None or verdict is None:
            return []
        return [
            PointState(
                key=point.key,
                miners=point.miners,
                power_w=None if np.isnan(power) else float(power),
                age_s=None if np.isinf(age) else float(age),
                believed=bool(np.isfinite(net)),
                error=None if error is None else str(error),
            )
            for point, power, age, net, error in zip(
                readings.points, readings.power_w, readings.age_s, verdict.net_w, readings.errors, strict=True
            )
        ]

    def to_bytes(self) -> bytes:
        """What was learned, for the store."""
        return self._offsets.to_bytes()


def _kind(result: PollResult) -> tuple[str | None, ...]:
    """Miners of one kind have sensors, or guesses, that err alike."""
    reading = result.reading
    return (None,) if reading is None else (reading.model, reading.firmware, reading.power_source)


def _restored(saved: bytes | None, ids: Sequence[str]) -> Offsets:
    if saved is None:
        return Offsets(ids)
    try:
        return Offsets.from_bytes(saved, ids)
    except DataError as error:
        log.warning("%s; they are learned anew", error)
        return Offsets(ids)
