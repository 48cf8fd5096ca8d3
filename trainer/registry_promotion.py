"""Whether a bundle may take the place of the one in use: what its report says, and against the stable one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from agent.errors import InputError, StoreError
from agent.models.bundle import read_manifest
from trainer.registry import Registry
from trainer.registry_records import ALL_SITES, Registered, Stage
from trainer.report_figures import Difference, compare_reports, decisive, label, read_report, shown

# Stages at which a bundle decides about miners.
_ACTING: tuple[Stage, ...] = ("canary", "stable")


def promote(
    registry: Registry,
    start: str,
    stage: Stage,
    now: datetime,
    sites: Sequence[str] = (),
    reason: str = "",
    *,
    force: bool = False,
) -> Registered:
    """Move the bundle whose id begins with `start`, if nothing speaks against it or `force` says to.

    Raises:
        InputError: the step is not allowed, or regret or coverage is worse than what runs there.
        BundleError: the agent would not use the bundle; force does not help.
        StoreError: the registry cannot be used.
    """
    bundle = registry.find(start)
    registry.allowed(bundle, stage, force=force)
    if stage in _ACTING and not force:
        against = objections(registry, bundle, sites)
        if against:
            raise InputError(
                f"bundle {bundle.bundle_id} is not promoted to {stage}: {'; '.join(against)}. "
                "--force with --reason promotes it all the same"
            )
    return registry.promote(bundle.bundle_id, stage, now, sites, reason, force=force)


def objections(registry: Registry, bundle: Registered, sites: Sequence[str] = ()) -> list[str]:
    """What speaks against a bundle deciding at `sites`, in words; empty where nothing does."""
    found = []
    report = report_of(registry, bundle)
    if report is not None and report["verdict"].get("outcome") == "do not promote":
        found.append(f"its report says do not promote ({report['verdict'].get('sentence')})")
    for site in sites or (ALL_SITES,):
        stable = registry.stable(site)
        if stable is None or stable.bundle_id == bundle.bundle_id:
            continue
        worse = decisive(differences(registry, bundle, stable))
        if worse:
            words = ", ".join(
                f"{label(d.metric)} {shown(d.metric, d.a)} against {shown(d.metric, d.b)}" for d in worse
            )
            found.append(f"worse than {stable.bundle_id}, which is stable: {words}")
    return list(dict.fromkeys(found))


def differences(registry: Registry, a: Registered, b: Registered) -> list[Difference]:
    """`a` as seen from `b`: on the same rows where the report of `a` has that, else by both reports."""
    report = report_of(registry, a)
    compared = (report or {}).get("comparison")
    if isinstance(compared, dict) and compared.get("bundle_id") == b.bundle_id:
        try:
            if compared["basis"] == "same rows":
                return [Difference(**entry) for entry in compared["differences"]]
        except (KeyError, TypeError) as error:
            raise StoreError(f"{registry.root}: the report of {a.bundle_id} is damaged: {error}") from error
    return compare_reports(read_manifest(a.path), report, read_manifest(b.path), report_of(registry, b))


def report_of(registry: Registry, bundle: Registered) -> dict[str, Any] | None:
    """The report of the newest training that led to a bundle and had one; None without any."""
    for experiment in reversed(registry.experiments(bundle.bundle_id)):
        report = read_report(registry.root / "experiments" / experiment.id)
        if report is not None:
            return report
    return None
