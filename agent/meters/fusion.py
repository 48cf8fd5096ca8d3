"""Ties meters to miners: from what meters show and what miners say, one figure of power for each miner.

Pure arithmetic over columns. Whether a meter is to be believed is decided in `agent.meters.trust`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.meters.reader import MeterReadings, Point
from agent.telemetry import PollResult

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Sources = NDArray[np.object_]

METERED: Final = "metered"
METERED_CIRCUIT: Final = "metered-circuit"
REPORTED_CORRECTED: Final = "reported-corrected"


@dataclass(frozen=True, slots=True)
class MeterMap:
    """Which of P points feeds which of N miners, as row numbers.

    Args:
        points: the points of a `MeterReader`.
        count: N.
        outlet: [N] the point that is a miner's own, -1 for none.
        circuit: [N] the point that it shares with others, -1 for none.
    """

    points: tuple[Point, ...]
    count: int
    outlet: Ints
    circuit: Ints
    overhead_w: Floats
    alone: Bools

    @staticmethod
    def of(points: Sequence[Point], rows: Mapping[str, int], count: int) -> MeterMap:
        """The map for a fleet.

        Args:
            points: of `MeterReader.points`.
            rows: from every name that a miner goes by in the site file (id, MAC, address) to its row.
            count: miners in the fleet.

        Raises:
            InputError: a point feeds a miner that has no row.
        """
        outlet = np.full(count, -1, dtype=np.int64)
        circuit = np.full(count, -1, dtype=np.int64)
        for place, point in enumerate(points):
            into = outlet if point.alone else circuit
            for miner in point.miners:
                row = rows.get(miner, -1)
                if not 0 <= row < count:
                    raise InputError(f"meter {point.key}: no miner of the site is called {miner}")
                into[row] = place
        return MeterMap(
            tuple(points),
            count,
            outlet,
            circuit,
            np.array([point.overhead_w for point in points], dtype=np.float64),
            np.array([point.alone for point in points], dtype=np.bool_),
        )

    def sums(self, values: Floats) -> Floats:
        """[P] `values` of the miners at each point added up; NaN where one of them is NaN."""
        total = np.zeros(len(self.points))
        for rows in (self.outlet, self.circuit):
            on = rows >= 0
            np.add.at(total, rows[on], values[on])
        return total


@dataclass(frozen=True, slots=True)
class Fused:
    """Power of N miners after the meters had their say.

    Args:
        power_w: [N] watts at the wall, NaN where nothing is known.
        source: [N] `metered`, `metered-circuit`, `reported-corrected`, or what the miner itself said.
        compared: [N] True where `power_w` comes from a meter and can be held against the miner's own figure
            to learn by how much that is off.
    """

    power_w: Floats
    source: Sources
    compared: Bools


def net_power(readings: MeterReadings, chart: MeterMap, usable: Bools) -> Floats:
    """[P] watts that reach the miners: overhead taken off, never below 0; NaN where not usable."""
    net = np.maximum(0.0, readings.power_w - chart.overhead_w)
    return np.where(usable, net, np.nan)


def fuse(
    own_w: Floats,
    source: Sources,
    read: Bools,
    net_w: Floats,
    chart: MeterMap,
    ratio: Floats,
    modelled_w: Floats,
    of_kind: Floats | None = None,
) -> Fused:
    """One figure of power for each miner.

    A miner's own outlet wins. What is left of its circuit, once the miners with outlets are taken off, is
    shared among the others in proportion to their own corrected figures, or to `modelled_w` where a miner
    says nothing; only if every one of them was read in this poll and has a share. A miner whose meters say
    nothing, and one without a meter, keeps its own figure, corrected by what was learned.

    Args:
        own_w: [N] watts that the miners report, NaN where unknown.
        source: [N] where those come from, None where unknown.
        read: [N] True where this poll brought a reading.
        net_w: [P] of `net_power`, NaN where the point is silent, old or not believed.
        chart: which point feeds whom.
        ratio: [N] wall watts for each watt that the miner reports, NaN where that is not learned.
        modelled_w: [N] watts expected at the present setting (a model's, else rated), NaN where unknown.
        of_kind: [N] the same as `ratio` by others of the same kind, where its own meter taught nothing.
    """
    power = own_w.copy()
    sources = source.copy()
    has_meter = (chart.outlet >= 0) | (chart.circuit >= 0)
    others = np.full(len(own_w), np.nan) if of_kind is None else of_kind
    by = np.where(has_meter & np.isfinite(ratio), ratio, others)
    corrected = np.isfinite(own_w) & np.isfinite(by)
    power[corrected] = own_w[corrected] * by[corrected]
    sources[corrected] = REPORTED_CORRECTED

    own_outlet = _taken(net_w, chart.outlet)
    at_outlet = np.isfinite(own_outlet)
    shared, from_own = _shares(power, read, net_w, chart, own_outlet, modelled_w)
    at_circuit = np.isfinite(shared) & ~at_outlet
    power[at_outlet], sources[at_outlet] = own_outlet[at_outlet], METERED
    power[at_circuit], sources[at_circuit] = shared[at_circuit], METERED_CIRCUIT
    sources[~np.isfinite(power)] = None
    return Fused(power, sources, read & np.isfinite(own_w) & (at_outlet | (at_circuit & from_own)))


def _shares(
    corrected_w: Floats, read: Bools, net_w: Floats, chart: MeterMap, own_outlet: Floats, modelled_w: Floats
) -> tuple[Floats, Bools]:
    """[N] each miner's part of its circuit, NaN where it cannot be told; True where own figures split it."""
    points = len(chart.points)
    on = chart.circuit >= 0
    at = chart.circuit[on]
    outlet = own_outlet[on]
    open_ = ~np.isfinite(outlet)
    own = corrected_w[on]
    known = np.isfinite(own)
    weight = np.where(known, own, modelled_w[on])
    usable = read[on] & np.isfinite(weight) & (weight >= 0.0)

    def per_circuit(values: Floats) -> Floats:
        return np.bincount(at, weights=values, minlength=points).astype(np.float64)

    left = np.maximum(0.0, net_w - per_circuit(np.where(open_, 0.0, outlet)))
    lost = per_circuit((open_ & ~usable).astype(np.float64)) > 0.0
    guessed = per_circuit((open_ & ~known).astype(np.float64)) > 0.0
    total = per_circuit(np.where(open_ & usable, weight, 0.0))
    can = np.isfinite(left) & ~lost & (total > 0.0)
    per_watt = np.divide(left, total, out=np.full(points, np.nan), where=can)
    shared = np.full(chart.count, np.nan)
    from_own = np.zeros(chart.count, dtype=np.bool_)
    shared[on] = np.where(open_, weight * per_watt[at], np.nan)
    from_own[on] = open_ & ~guessed[at]
    return shared, from_own


def _taken(values: Floats, rows: Ints) -> Floats:
    """`values[rows]`, NaN where a row is -1."""
    if not len(values):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)


def own_figures(results: Sequence[PollResult]) -> tuple[Floats, Sources, Bools]:
    """What the miners themselves say: ([N] watts, [N] source, [N] read), in the order of `results`."""
    power = np.full(len(results), np.nan)
    source: Sources = np.full(len(results), None, dtype=object)
    read = np.zeros(len(results), dtype=np.bool_)
    for i, result in enumerate(results):
        reading = result.reading
        if reading is None:
            continue
        read[i] = True
        if reading.power_w is not None:
            power[i], source[i] = reading.power_w, reading.power_source
    return power, source, read


def with_power(results: Sequence[PollResult], fused: Fused) -> list[PollResult]:
    """The same results with the power that was found; a miner that was not read stays unread."""
    found: list[PollResult] = []
    for result, power, source in zip(results, fused.power_w.tolist(), fused.source.tolist(), strict=True):
        reading = result.reading
        if reading is not None and source is not None and source != reading.power_source:
            reading = replace(reading, power_w=power, power_source=source)
            result = replace(result, reading=reading)
        found.append(result)
    return found
