"""What the reports of two bundles say, side by side, and what counts as better.

Needs no more than the agent does, so that a registry can be read wherever the agent runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from agent.errors import BundleError
from agent.models.bundle import BundleManifest, read_manifest

REPORT = "report.html"
METRICS = "metrics.json"
FORMAT_VERSION = 1
MAX_METRICS_BYTES = 8 * 1024 * 1024
Verdict = Literal["better", "equal", "worse", "unknown"]
# What an 80 % interval should cover, and how near to it counts as right.
COVERAGE = 0.8
COVERAGE_BAND = (0.77, 0.83)
# Standard errors of a difference that count as noise.
SPREAD = 2.0
# Where a report gives no standard error: this much of the larger figure, or this much coverage, is noise.
_NOISE_SHARE = 0.05
_NOISE_COVERAGE = 0.03


class Figure(NamedTuple):
    """A number of one report and its standard error, None where it has none."""

    value: float
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of bundle A against the same of bundle B.

    Args:
        metric: what. Coverage is better the nearer it lies to 80 %, direction the higher, all else the lower.
        scope: `all` or a hardware model.
        noise: differences up to this are none: twice their standard error.
        verdict: A as seen from B.
    """

    metric: str
    scope: str
    a: float | None
    b: float | None
    noise: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new bundle (A) against the one in use (B).

    Args:
        basis: `same rows`, later than what either learned from, or `own reports`.
        rows, units: of the same rows; 0 on the other basis.
    """

    bundle_id: str
    training_end: str
    basis: Literal["same rows", "own reports"]
    rows: int
    units: int
    differences: list[Difference]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def decisive(differences: Sequence[Difference]) -> list[Difference]:
    """Those that speak against promotion: worse regret or worse coverage over all hardware."""
    return [
        d
        for d in differences
        if d.verdict == "worse" and d.scope == "all" and d.metric.startswith(("regret", "coverage"))
    ]


def compare_reports(
    a: BundleManifest,
    a_report: Mapping[str, Any] | None,
    b: BundleManifest,
    b_report: Mapping[str, Any] | None,
) -> list[Difference]:
    """Compare what each bundle's own report says; what only one of them says is left out."""
    # Figures of a report and of a manifest are taken on different rows, so both must have the report.
    both = a_report is not None and b_report is not None
    ours, theirs = (figures(m, r if both else None) for m, r in ((a, a_report), (b, b_report)))
    found = []
    for (metric, scope), own in ours.items():
        other = theirs.get((metric, scope))
        if other is not None:
            noise = _noise(metric, own, other)
            # One miner of a hardware model has no spread, so its figures tell nothing of the next miner's.
            alone = both and scope != "all" and None in (own.standard_error, other.standard_error)
            found.append(difference(metric, scope, own.value, other.value, None if alone else noise))
    return found


def figures(manifest: BundleManifest, report: Mapping[str, Any] | None) -> dict[tuple[str, str], Figure]:
    """What can be compared, by (metric, scope)."""
    metrics = manifest.metrics
    found: dict[tuple[str, str], Figure] = {}

    def put(metric: str, scope: str, value: Any, error: Any = None) -> None:
        if isinstance(value, int | float):
            found[metric, scope] = Figure(
                float(value), float(error) if isinstance(error, int | float) else None
            )

    chosen: Mapping[str, Any] = next(
        (t for t in metrics.get("families", []) if t.get("family") == metrics.get("chosen")), {}
    )
    put("regret", "all", metrics.get("regret"), chosen.get("regret_standard_error"))
    put("slope error", "all", metrics.get("slope_error"))
    if report is not None:
        evaluation = report.get("evaluation", {})
        for group in [evaluation.get("overall", {}), *evaluation.get("by_model", [])]:
            scope = group.get("name", "all")
            for quantity, own in group.get("quantities", {}).items():
                put(f"error {quantity}", scope, own.get("error"), own.get("standard_error"))
                put(f"coverage {quantity}", scope, own.get("coverage"), own.get("coverage_standard_error"))
                if scope == "all":
                    put(f"width {quantity}", scope, own.get("width"))
        regret = evaluation.get("regret") or {}
        put("regret usd_per_unit_day", "all", regret.get("usd_per_unit_day"), regret.get("standard_error"))
        direction = evaluation.get("direction") or {}
        if direction.get("accuracy") is not None:
            put("direction", "all", direction["accuracy"], (direction["high"] - direction["low"]) / 3.29)
        return found
    for quantity, name in (
        ("hashrate", "hashrate_ths"),
        ("power", "power_w"),
        ("profit", "profit_usd_per_day"),
    ):
        put(f"error {name}", "all", metrics.get(f"{quantity}_error"))
        covered = metrics.get("coverage", {}).get(quantity, {})
        put(f"coverage {name}", "all", covered.get("overall"))
        for scope, own in covered.get("by_model", {}).items():
            put(f"coverage {name}", scope, own.get("coverage"))
        for scope, own in metrics.get("by_model", {}).items():
            put(f"error {name}", scope, own.get(f"{quantity}_error"))
    return found


def read_report(folder: Path) -> dict[str, Any] | None:
    """The document beside a bundle; None where there is none, or it is of another bundle or not readable.

    A report explains a bundle and is no part of it, so a bad one is as good as none.
    """
    try:
        with (folder / METRICS).open("rb") as stream:
            raw = stream.read(MAX_METRICS_BYTES + 1)
        tree = json.loads(raw) if len(raw) <= MAX_METRICS_BYTES else None
        own = read_manifest(folder).bundle_id
    except (OSError, ValueError, RecursionError, BundleError):
        return None
    if not isinstance(tree, dict) or tree.get("bundle_id") != own:
        return None
    whole = isinstance(tree.get("evaluation"), dict) and isinstance(tree.get("verdict"), dict)
    return tree if whole and tree.get("format_version") == FORMAT_VERSION else None


def difference(metric: str, scope: str, a: float, b: float, noise: float | None) -> Difference:
    """One figure of two bundles and which is better; not known without a noise to judge by."""
    low, high = COVERAGE_BAND
    if metric.startswith("coverage"):
        gain = abs(b - COVERAGE) - abs(a - COVERAGE)
        same = low <= a <= high and low <= b <= high
    else:
        gain, same = (a - b) if metric == "direction" else (b - a), False
    if noise is None:
        verdict: Verdict = "unknown"
    else:
        verdict = "equal" if same or abs(gain) <= noise else "better" if gain > 0.0 else "worse"
    return Difference(metric, scope, a, b, noise, verdict)


def label(metric: str) -> str:
    """The name of a figure in words."""
    kind, _, quantity = metric.partition(" ")
    return _LABELS.get(metric) or f"{_LABELS.get(quantity, quantity)} {kind}"


def shown(metric: str, value: float | None) -> str:
    """A figure as a person reads it."""
    if value is None:
        return "-"
    kind, _, quantity = metric.partition(" ")
    unit = _UNITS.get(quantity)
    if unit is None or kind == "coverage":
        return f"{100.0 * value:.2f} %"
    return f"{value:.3f} {unit}"


_LABELS = {
    "hashrate_ths": "hashrate",
    "power_w": "power",
    "chip_temp_c": "chip temperature",
    "profit_usd_per_day": "profit",
    "regret": "regret in cross-validation",
    "regret usd_per_unit_day": "regret per miner and day",
    "slope error": "slope error",
    "direction": "direction right",
}
_UNITS = {"chip_temp_c": "\N{DEGREE SIGN}C", "profit_usd_per_day": "USD", "usd_per_unit_day": "USD"}


def _noise(metric: str, a: Figure, b: Figure) -> float:
    if a.standard_error is None or b.standard_error is None:
        return (
            _NOISE_COVERAGE
            if metric.startswith("coverage")
            else _NOISE_SHARE * max(abs(a.value), abs(b.value))
        )
    return SPREAD * float(np.hypot(a.standard_error, b.standard_error))
