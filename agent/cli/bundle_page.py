"""How a bundle's manifest looks in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from agent.models.bundle import BundleManifest


def bundle_page(manifest: BundleManifest) -> RenderableType:
    """What the bundle is, then its families, then one line per hardware model."""
    training = manifest.training
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("bundle", f"{manifest.bundle_id}, made {manifest.created_at:%Y-%m-%d %H:%M} UTC"),
        ("model", f"{training.model_family}, seed {training.seed}"),
        ("learned from", f"{training.rows} rows of {training.units} units at {', '.join(training.sites)}"),
        ("span", f"{training.start:%Y-%m-%d %H:%M} to {training.end:%Y-%m-%d %H:%M} UTC"),
        ("code", f"hashmargin {manifest.code_version}, commit {manifest.git_commit or 'unknown'}"),
        ("feature table", manifest.feature_hash[:16]),
    ):
        facts.add_row(name, value)
    return Group(facts, "", families_table(manifest.metrics), "", hardware_table(manifest))


def families_table(metrics: dict[str, Any]) -> Table:
    """The families that were tried, on later time and held-out units."""
    table = Table(
        title="Families: regret and errors on later days and units held out", title_justify="left", box=None
    )
    table.add_column("family", no_wrap=True)
    for name in ("regret", "slope", "TH/s", "W", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for tried in metrics.get("families", []):
        chosen = tried.get("family") == metrics.get("chosen")
        table.add_row(
            f"{tried.get('family')} (chosen)" if chosen else str(tried.get("family")),
            *(percent(tried.get(key)) for key in ("regret", "slope_error", "hashrate_error", "power_error")),
            str(tried.get("size")),
            style="bold" if chosen else "",
        )
    return table


def hardware_table(manifest: BundleManifest) -> Table:
    """Error and coverage of each hardware model; as never seen, where it was left out of training."""
    table = _table("Hardware: error on later days and unseen units; as a new model; rows in 80 % interval")
    table.add_column("model", no_wrap=True, min_width=26)
    for name in ("units", "rows", "TH/s", "W", "new TH/s", "new W", "in TH/s", "in W", "in USD"):
        table.add_column(name, justify="right", no_wrap=True)
    errors = manifest.metrics.get("by_model", {})
    coverage = manifest.metrics.get("coverage", {})

    def covered(quantity: str, key: str) -> str:
        return percent(coverage.get(quantity, {}).get("by_model", {}).get(key, {}).get("coverage"), 0)

    for entry in manifest.hardware:
        own = errors.get(entry.key, {})
        table.add_row(
            entry.key,
            str(entry.units),
            str(entry.rows),
            percent(own.get("hashrate_error")),
            percent(own.get("power_error")),
            percent(own.get("hashrate_error_never_seen")),
            percent(own.get("power_error_never_seen")),
            *(covered(quantity, entry.key) for quantity in ("hashrate", "power", "profit")),
        )
    overall = [percent(coverage.get(q, {}).get("overall"), 0) for q in ("hashrate", "power", "profit")]
    total = manifest.training
    table.add_row("all", str(total.units), str(total.rows), "", "", "", "", *overall, style="bold")
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None)


def page_console() -> Console:
    """A console that does not squeeze tables when its output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def percent(value: Any, digits: int = 2) -> str:
    """`1.23 %`, or a dash where nothing is known."""
    return f"{100.0 * value:.{digits}f} %" if isinstance(value, int | float) else "-"
