"""What a registry keeps: experiments, bundles with their stages, deployments, and the journal."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from agent.models.bundle import BundleManifest

Stage = Literal["candidate", "shadow", "canary", "stable", "retired"]
STAGES: tuple[Stage, ...] = get_args(Stage)
# Stands for every site that has no bundle of its own.
ALL_SITES = "*"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One training: what went in, with what, and what came out."""

    id: str
    created_at: str
    who: str
    parameters: dict[str, Any]
    data_span: dict[str, Any]
    code_version: str
    git_commit: str | None
    library_versions: dict[str, str]
    metrics: dict[str, Any]
    bundle_id: str
    artefacts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which bundle a site has at a stage, and since when."""

    site: str
    stage: Stage
    bundle_id: str
    since: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of the journal."""

    at: str
    who: str
    bundle_id: str
    from_stage: Stage | None
    to_stage: Stage
    sites: list[str]
    reason: str
    forced: bool


@dataclass(frozen=True, slots=True)
class Registered:
    """A bundle of the registry."""

    bundle_id: str
    added_at: str
    stage: Stage
    path: Path
    deployments: tuple[Deployment, ...]


def summary(manifest: BundleManifest) -> dict[str, Any]:
    """What a list shows of a bundle."""
    metrics = manifest.metrics
    coverage = metrics.get("coverage", {})
    return {
        "span": [manifest.training.start.isoformat(), manifest.training.end.isoformat()],
        "family": manifest.training.model_family,
        "regret": metrics.get("regret"),
        "hashrate_error": metrics.get("hashrate_error"),
        "power_error": metrics.get("power_error"),
        "hashrate_coverage": coverage.get("hashrate", {}).get("overall"),
        "power_coverage": coverage.get("power", {}).get("overall"),
    }


def describe(
    identity: str,
    now: datetime,
    manifest: BundleManifest,
    parameters: Mapping[str, Any],
    found: Mapping[str, tuple[str, int]],
) -> Experiment:
    """The record of a training that led to the bundle of `manifest`, with (SHA-256, bytes) of its files."""
    training = manifest.training
    return Experiment(
        id=identity,
        created_at=now.isoformat(),
        who=who(),
        parameters={
            "seed": training.seed,
            "model_family": training.model_family,
            "hyper_parameters": training.hyper_parameters,
            **parameters,
        },
        data_span={
            "start": training.start.isoformat(),
            "end": training.end.isoformat(),
            "rows": training.rows,
            "units": training.units,
            "sites": training.sites,
        },
        code_version=manifest.code_version,
        git_commit=manifest.git_commit,
        library_versions=manifest.library_versions,
        metrics=summary(manifest) | {"families": manifest.metrics.get("families", [])},
        bundle_id=manifest.bundle_id,
        artefacts={name: digest for name, (digest, _) in found.items()},
    )


def who() -> str:
    """The person at the keyboard, also behind sudo."""
    behind = os.environ.get("SUDO_USER")
    if behind:
        return behind
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
