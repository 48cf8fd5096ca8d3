"""`hashmargin models list|add|compare|promote`, and the registry's part of `models show`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from agent.cli.bundle_page import bundle_page, page_console, percent
from agent.clock import SystemClock
from agent.errors import InputError
from agent.models.bundle import BundleManifest, read_manifest
from agent.models.trial import tried
from trainer.registry import Registry
from trainer.registry_promotion import differences, promote, report_of
from trainer.registry_records import ALL_SITES, STAGES, Registered, summary
from trainer.report_figures import METRICS, REPORT, Difference, compare_reports, label, read_report, shown

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Root = Annotated[
    Path, typer.Option("--registry", envvar="HASHMARGIN_REGISTRY", help="Folder of the registry.")
]
_DEFAULT = Path("registry")
_TONE = {"better": "green", "worse": "red"}


def register(group: typer.Typer) -> None:
    """Add the commands to the group `models`."""
    group.command("list")(list_bundles)
    group.command("add")(add)
    group.command("compare")(compare)
    group.command("promote")(promote_bundle)


def list_bundles(registry: Root = _DEFAULT, as_json: AsJson = False) -> None:
    """List the bundles of a registry, newest first: stage, sites, data, regret, errors and coverage.

    Example: hashmargin models list --registry registry
    """
    store = Registry(registry)
    try:
        entries = [(b, _summary(b)) for b in store.bundles()]
    finally:
        store.close()
    if as_json:
        typer.echo(json.dumps([_document(b) | {"figures": figures} for b, figures in entries], indent=2))
        return
    table = Table(box=None)
    for name in ("bundle", "stage", "sites", "added", "learned from", "family"):
        table.add_column(name, no_wrap=name not in ("sites", "family"))
    for name in ("regret", "error TH/s, W", "in 80 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for bundle, figures in entries:
        errors = (percent(figures.get(key)) for key in ("hashrate_error", "power_error"))
        inside = (percent(figures.get(key), 0) for key in ("hashrate_coverage", "power_coverage"))
        table.add_row(
            bundle.bundle_id,
            bundle.stage,
            _sites(bundle),
            bundle.added_at[:10],
            _span(figures),
            str(figures.get("family", figures.get("problem", ""))),
            percent(figures.get("regret")),
            ", ".join(errors),
            ", ".join(inside),
        )
    page_console().print(table)
    if not entries:
        typer.echo("no bundles yet; `hashmargin train --registry` adds one")


def add(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the bundle.")],
    registry: Root = _DEFAULT,
) -> None:
    """Add a bundle that was trained elsewhere, with its report where it has one, as a candidate.

    Example: hashmargin models add bundle --registry registry
    """
    # Made elsewhere: it is tried before it is let in, as the agent does it.
    tried(folder)
    artefacts = {}
    if read_report(folder) is not None:
        artefacts = {name: folder / name for name in (METRICS, REPORT) if (folder / name).is_file()}
    store = Registry(registry, create=True)
    try:
        done = store.add(folder, SystemClock().now(), {"added_from": str(folder)}, artefacts)
    finally:
        store.close()
    typer.echo(f"bundle {done.bundle_id} is in {registry} as experiment {done.id}")


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Id in the registry, or folder of a bundle.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    registry: Root = _DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Compare two bundles figure by figure, with what they learned from and how.

    What differs by less than twice its standard error is equal.

    Example: hashmargin models compare 58ca8df0 9d02bb61
    """
    found, manifests = _compared(a, b, registry)
    parameters = _parameters(*manifests)
    if as_json:
        document = {
            "a": _head(manifests[0]),
            "b": _head(manifests[1]),
            "parameters": parameters,
            "differences": [asdict(d) for d in found],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    head = Table(box=None)
    for name in ("", f"A {manifests[0].bundle_id}", f"B {manifests[1].bundle_id}"):
        head.add_column(name)
    for name in ("span", "rows", "units", "sites"):
        head.add_row(name, *(str(_head(m)[name]) for m in manifests))
    for name, values in parameters.items():
        head.add_row(name, *(str(v) for v in values))
    table = Table(box=None)
    for name in ("figure", "hardware"):
        table.add_column(name, no_wrap=True)
    for name in ("A", "B", "noise"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("A is", no_wrap=True)
    for d in found:
        numbers = (shown(d.metric, v) for v in (d.a, d.b, d.noise))
        tone = _TONE.get(d.verdict)
        table.add_row(
            label(d.metric), d.scope, *numbers, f"[{tone}]{d.verdict}[/{tone}]" if tone else d.verdict
        )
    page_console().print(Group(head, "", table))


def promote_bundle(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the bundle, or its beginning.")],
    stage: Annotated[str, typer.Argument(metavar="STAGE", help=", ".join(STAGES[1:]) + ".")],
    registry: Root = _DEFAULT,
    site: Annotated[
        list[str] | None, typer.Option(help="Where; may be given several times. Without it: everywhere.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the journal.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote although it is worse, or go back; needs --reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move a bundle to a stage: candidate, shadow, canary, stable, retired, in this order.

    The bundle must be one that the agent of this version would use, and not be worse than the stable one.

    Example: hashmargin models promote 58ca8df0 canary --site quarry --reason "a week in shadow"
    """
    if stage not in STAGES:
        raise InputError(f"stage {stage!r}: expected one of {', '.join(STAGES[1:])}")
    store = Registry(registry)
    try:
        now = SystemClock().now()
        bundle = promote(store, identity, stage, now, site or [], reason, force=force)
        empty = [s for s in site or [ALL_SITES] if store.stable(s) is None]
    finally:
        store.close()
    if as_json:
        typer.echo(json.dumps(_document(bundle), indent=2))
        return
    where = _sites(bundle)
    typer.echo(f"bundle {bundle.bundle_id} is {bundle.stage}" + (f": {where}" if where else ""))
    if stage == "retired" and empty:
        typer.echo("no stable bundle is left there; agents use the profiles' curves")


def show(registry: Path, identity: str, *, as_json: bool) -> None:
    """What `models show` says of a bundle in a registry."""
    store = Registry(registry)
    try:
        bundle = store.find(identity)
        manifest = read_manifest(bundle.path)
        experiments, journal = store.experiments(bundle.bundle_id), store.journal(bundle.bundle_id)
        report = report_of(store, bundle)
    finally:
        store.close()
    if as_json:
        document = _document(bundle) | {
            "verdict": report["verdict"] if report is not None else None,
            "experiments": [asdict(e) for e in experiments],
            "journal": [asdict(t) for t in journal],
            "manifest": manifest.model_dump(mode="json", exclude={"golden", "feature_names"}),
        }
        typer.echo(json.dumps(document, indent=2))
        return
    facts = Table.grid(padding=(0, 2))
    facts.add_row("stage", f"{bundle.stage}" + (f": {_sites(bundle)}" if bundle.deployments else ""))
    if report is not None:
        facts.add_row("report", f"{report['verdict'].get('outcome')}: {report['verdict'].get('sentence')}")
    facts.add_row("path", str(bundle.path))
    for experiment in experiments:
        facts.add_row("experiment", f"{experiment.id} by {experiment.who}: {', '.join(experiment.artefacts)}")
    moves = Table(box=None, title="Journal", title_justify="left")
    for name in ("when", "who", "from", "to", "sites", "why"):
        moves.add_column(name)
    for t in journal:
        why = f"{t.reason} (forced)" if t.forced else t.reason
        sites = ", ".join(t.sites)
        moves.add_row(t.at[:16].replace("T", " "), t.who, t.from_stage or "", t.to_stage, sites, why)
    page_console().print(Group(bundle_page(manifest), "", facts, "", moves))


def _compared(a: str, b: str, root: Path) -> tuple[list[Difference], tuple[BundleManifest, BundleManifest]]:
    folders = Path(a).is_dir(), Path(b).is_dir()
    store = None if all(folders) else Registry(root)
    try:
        entries = [
            None if store is None or is_folder else store.find(name)
            for name, is_folder in zip((a, b), folders, strict=True)
        ]
        one, other = entries
        if store is not None and one is not None and other is not None:
            found = differences(store, one, other)
            return found, (read_manifest(one.path), read_manifest(other.path))
        manifests, reports = [], []
        for name, entry in zip((a, b), entries, strict=True):
            manifests.append(read_manifest(entry.path if entry is not None else Path(name)))
            known = report_of(store, entry) if store is not None and entry is not None else None
            reports.append(known if entry is not None else read_report(Path(name)))
        found = compare_reports(manifests[0], reports[0], manifests[1], reports[1])
        return found, (manifests[0], manifests[1])
    finally:
        if store is not None:
            store.close()


def _parameters(a: BundleManifest, b: BundleManifest) -> dict[str, tuple[Any, Any]]:
    """What the trainings were given differently."""
    ours, theirs = (
        {
            "family": m.training.model_family,
            "seed": m.training.seed,
            "code": m.code_version,
            "commit": m.git_commit,
            "feature table": m.feature_hash[:16],
            **{f"parameter {k}": v for k, v in m.training.hyper_parameters.items()},
            **{f"library {k}": v for k, v in m.library_versions.items()},
        }
        for m in (a, b)
    )
    names = dict.fromkeys([*ours, *theirs])
    return {n: (ours.get(n), theirs.get(n)) for n in names if ours.get(n) != theirs.get(n)}


def _head(manifest: BundleManifest) -> dict[str, Any]:
    training = manifest.training
    return {
        "bundle_id": manifest.bundle_id,
        "span": f"{training.start:%Y-%m-%d} to {training.end:%Y-%m-%d}",
        "rows": training.rows,
        "units": training.units,
        "sites": ", ".join(training.sites),
    }


def _summary(bundle: Registered) -> dict[str, Any]:
    """Figures of a bundle, or what is wrong with it: one bad bundle must not hide the others."""
    try:
        return summary(read_manifest(bundle.path))
    except InputError as error:
        return {"problem": str(error)}


def _span(figures: dict[str, Any]) -> str:
    if "span" not in figures:
        return ""
    start, end = (datetime.fromisoformat(moment) for moment in figures["span"])
    return f"{(end - start).days} d to {end:%Y-%m-%d}"


def _document(bundle: Registered) -> dict[str, Any]:
    return {
        "bundle_id": bundle.bundle_id,
        "stage": bundle.stage,
        "added_at": bundle.added_at,
        "path": str(bundle.path),
        "deployments": [asdict(d) for d in bundle.deployments],
    }


def _sites(bundle: Registered) -> str:
    names = ((d.stage, "all sites" if d.site == ALL_SITES else d.site) for d in bundle.deployments)
    return ", ".join(site if stage == bundle.stage else f"{site} ({stage})" for stage, site in names)
