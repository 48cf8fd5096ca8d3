"""The evaluation report: `metrics.json` for programs and `report.html` for people, beside the bundle.

Both say the same; the page is drawn from the document alone and asks for nothing from outside itself.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agent.errors import BundleError
from agent.models.bundle import Bundle, BundleManifest, load_bundle, read_manifest
from trainer import report_plots as plots
from trainer.dataset import Dataset
from trainer.evaluation import Evaluation, evaluate
from trainer.latency import latency
from trainer.learn import Learned
from trainer.report_comparison import compare_on_rows
from trainer.report_figures import (
    FORMAT_VERSION,
    METRICS,
    REPORT,
    Comparison,
    compare_reports,
    label,
    read_report,
    shown,
)
from trainer.report_verdict import Judgement, verdict

_COVERED = {"hashrate": "hashrate_ths", "power": "power_w", "profit": "profit_usd_per_day"}


def build_report(
    bundle: Bundle,
    learned: Learned,
    dataset: Dataset,
    firmware: Sequence[str] | None = None,
    in_use: Path | None = None,
) -> dict[str, Any]:
    """The whole document of `bundle`.

    Args:
        learned: what `bundle` was made of, with its predictions of held-out rows of `dataset`.
        firmware: [N] of each held-out row; None where unknown.
        in_use: folder of the bundle to compare with.

    Raises:
        BundleError: the bundle in use has no manifest that can be read.
    """
    evaluation = evaluate(learned.held_out, firmware)
    comparison = None
    if in_use is not None:
        comparison = _compared(bundle, evaluation, learned, dataset, in_use)
    return document(bundle.manifest, evaluation, comparison) | {"latency": latency(bundle)}


def _compared(
    bundle: Bundle, evaluation: Evaluation, learned: Learned, dataset: Dataset, in_use: Path
) -> Comparison | None:
    """By the same rows where the bundle in use still runs and enough are new to it, else by the reports."""
    theirs = read_manifest(in_use)
    if theirs.bundle_id == bundle.manifest.bundle_id:
        return None
    try:
        seed = bundle.manifest.training.seed
        family = learned.chosen.family
        comparison = compare_on_rows(load_bundle(in_use), family, learned.held_out, dataset, seed)
    except BundleError:
        # Made for another feature table, as after every upgrade that changed it.
        comparison = None
    if comparison is not None:
        return comparison
    # The new one has no document yet: what it will say of its figures is enough.
    ours = {"evaluation": evaluation.to_dict()}
    found = compare_reports(bundle.manifest, ours, theirs, read_report(in_use))
    return Comparison(theirs.bundle_id, theirs.training.end.isoformat(), "own reports", 0, 0, found)


def document(
    manifest: BundleManifest, evaluation: Evaluation, comparison: Comparison | None
) -> dict[str, Any]:
    """What `metrics.json` holds."""
    judgement: Judgement = verdict(evaluation, manifest.metrics, comparison)
    tree = {
        "format_version": FORMAT_VERSION,
        "bundle_id": manifest.bundle_id,
        "verdict": judgement.to_dict(),
        "training": manifest.training.model_dump(mode="json"),
        "hardware": [entry.model_dump(mode="json") for entry in manifest.hardware],
        "feature_hash": manifest.feature_hash,
        "code_version": manifest.code_version,
        "git_commit": manifest.git_commit,
        "library_versions": manifest.library_versions,
        "files": {name: entry.model_dump() for name, entry in manifest.files.items()},
        "chosen": manifest.metrics.get("chosen"),
        "families": manifest.metrics.get("families", []),
        "slope_error": manifest.metrics.get("slope_error"),
        "importance": manifest.metrics.get("importance", {}),
        "evaluation": evaluation.to_dict(),
        "comparison": comparison.to_dict() if comparison is not None else None,
    }
    parsed: dict[str, Any] = json.loads(json.dumps(tree, allow_nan=False))
    return parsed


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `metrics.json` and `report.html` into `folder`, each in one step.

    Raises:
        BundleError: they cannot be written.
    """
    try:
        _replace(folder / METRICS, json.dumps(report, indent=1).encode())
        _replace(folder / REPORT, render(report).encode())
    except OSError as error:
        raise BundleError(f"{folder}: the report cannot be written: {error.strerror}") from error


def render(report: Mapping[str, Any]) -> str:
    """The page of a document."""
    environment = Environment(
        loader=PackageLoader("trainer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "label": label}
    environment.globals["shown"] = shown
    page: str = environment.get_template("report.html").render(
        r=report, e=report["evaluation"], drawings=drawings(report)
    )
    return page


def percent(value: Any, digits: int = 2, *, sign: bool = False) -> str:
    """`1.23 %`, or a dash."""
    if not isinstance(value, int | float):
        return "-"
    return f"{100.0 * value:{'+' if sign else ''}.{digits}f} %"


def number(value: Any, digits: int = 2, *, sign: bool = False) -> str:
    """`1,234.56`, or a dash."""
    return f"{value:{'+' if sign else ''},.{digits}f}" if isinstance(value, int | float) else "-"


def drawings(report: Mapping[str, Any]) -> dict[str, Any]:
    """Every drawing of the page by name; absent where there is nothing to draw."""
    evaluation = report["evaluation"]
    found: dict[str, Any] = {}
    weeks = evaluation["by_week"]
    if weeks:
        found["weeks"] = plots.lines(
            "Median error by week, percent, of hashrate and power",
            [week["name"][5:] for week in weeks],
            [
                plots.Series(
                    name, _of(weeks, _COVERED[name], "error"), _of(weeks, _COVERED[name], "standard_error")
                )
                for name in ("hashrate", "power")
            ],
        )
    names = {"hashrate_ths": "hashrate", "power_w": "power"}
    shapes = {names[key]: shape for key, shape in evaluation["residuals"].items()}
    for name, shape in shapes.items():
        found[f"histogram_{name}"] = plots.histogram(f"Histogram of {name} residuals", shape)
    if shapes:
        found["quantiles"] = plots.quantiles("Quantiles of residuals against a normal distribution", shapes)
    for key, title in (("by_model", "hardware model"), ("by_month", "month")):
        if evaluation[key]:
            found[f"coverage_{key}"] = _coverage(evaluation[key], f"Coverage of 80 % intervals by {title}")
    for name, values in report["importance"].items():
        if values:
            found[f"importance_{name}"] = plots.bars(
                f"What the {name} model leans on most", dict(list(values.items())[:10]), {}, "weight"
            )
    tried = [t for t in report["families"] if isinstance(t.get("regret"), int | float)]
    if tried:
        found["families"] = plots.bars(
            "Regret of each candidate family with its standard error",
            {t["family"]: 100.0 * t["regret"] for t in tried},
            {t["family"]: 100.0 * (t.get("regret_standard_error") or 0.0) for t in tried},
            "% of the best profit",
        )
    found = {name: Markup(svg) for name, svg in found.items()}  # noqa: S704  # text in it is escaped
    found["curves"] = [
        (
            f"{one['model']}, {one['miner']}",
            Markup(plots.curve(f"Watts over TH/s of {one['miner']}, {one['model']}", one)),  # noqa: S704
        )
        for one in evaluation["sampled"]
    ]
    return found


def _coverage(groups: Sequence[Mapping[str, Any]], title: str) -> str:
    series = [
        plots.Series(name, _of(groups, key, "coverage"), _of(groups, key, "coverage_standard_error"))
        for name, key in _COVERED.items()
    ]
    return plots.dots(
        title, [g["name"] for g in groups], series, (72.0, 88.0), 80.0, "% of rows inside; band 72 to 88"
    )


def _of(groups: Sequence[Mapping[str, Any]], quantity: str, what: str) -> list[float | None]:
    values = [group["quantities"][quantity][what] for group in groups]
    return [100.0 * v if v is not None else None for v in values]


def _replace(file: Path, raw: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
