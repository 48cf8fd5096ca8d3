"""The end of a training: the report beside the bundle, and the experiment in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.models.bundle import Bundle, read_manifest
from trainer.dataset import Dataset
from trainer.learn import Learned
from trainer.registry import Registry
from trainer.report import build_report, write_report
from trainer.report_figures import METRICS, REPORT
from trainer.report_firmware import firmware_of


def check_publish(registry: Path | None, compare_with: Path | None) -> None:
    """Find out before the work, not after it, that a report could not be made or kept.

    Raises:
        StoreError: the registry cannot be used.
        BundleError: there is no bundle to compare with.
    """
    if registry is not None:
        Registry(registry, create=True).close()
    if compare_with is not None:
        read_manifest(compare_with)


def publish(
    bundle: Bundle,
    learned: Learned,
    dataset: Dataset,
    lake: Path,
    registry: Path | None,
    compare_with: Path | None,
    parameters: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Write `report.html` and `metrics.json` beside `bundle`, and add all of it to `registry`.

    Compared is with `compare_with`, else with what is stable at the sites of the data.

    Returns:
        The report's verdict.

    Raises:
        StoreError, BundleError: something cannot be written.
    """
    store = Registry(registry, create=True) if registry is not None else None
    try:
        in_use = compare_with
        if in_use is None and store is not None:
            stable = next(filter(None, map(store.stable, bundle.manifest.training.sites)), None)
            in_use = stable.path if stable is not None else None
        report = build_report(bundle, learned, dataset, firmware_of(lake, learned.held_out), in_use)
        write_report(bundle.path, report)
        if store is not None:
            artefacts = {name: bundle.path / name for name in (METRICS, REPORT)}
            store.add(bundle.path, now, parameters, artefacts)
    finally:
        if store is not None:
            store.close()
    verdict: dict[str, Any] = report["verdict"]
    return verdict
