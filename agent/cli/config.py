"""`hashmargin config`: check a site file before the agent runs with it, and show what it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agent.advice.desk import open_desk
from agent.config import MinerConfig, SiteConfig, load_site, read_secret
from agent.devices.families import FAMILIES
from agent.errors import ConfigError, DataError
from agent.hardware.bounds import Bounds
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import check_overrides, effective_bounds, overrides_for
from agent.hardware.jsonschema import schema_text, site_schema
from agent.hardware.profile import HardwareProfile
from agent.money.economics import Economics
from agent.sources.config import WithSecret

HELP = """Check a site file and show what it means.

Example: hashmargin config check /etc/hashmargin/site.yaml
"""


def register(app: typer.Typer) -> None:
    """Add the group `config`."""
    group = typer.Typer(no_args_is_help=True, help=HELP)
    group.command("check")(check_site)
    group.command("schema")(print_schema)
    app.add_typer(group, name="config")


@dataclass(frozen=True, slots=True)
class _Line:
    """What the site file means for one miner before it has been asked anything."""

    miner: MinerConfig
    profile: HardwareProfile | None
    mode: str
    bounds: tuple[Bounds, ...]
    notes: tuple[str, ...]


def check_site(
    site: Annotated[Path, typer.Argument(help="The site file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Load a site file with its secrets and files, check bounds, and list each miner with mode and bounds.

    No miner is contacted. Exits with 2 when the agent could not run with this file.

    Example: hashmargin config check configs/site.example.yaml
    """
    config = load_site(site)
    catalogue = Catalogue.load(config.hardware_dir)
    check_overrides(config, catalogue, site)
    problems = [*_secret_problems(config), *_file_problems(config)]
    lines = [_line(config, miner, catalogue) for miner in config.miners]
    warnings = _warnings(config)
    if as_json:
        typer.echo(json.dumps(_document(config, lines, problems, warnings), indent=2))
    else:
        console = Console()
        console.print(_table(config, lines))
        for warning in warnings:
            console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(2)
    if not as_json:
        typer.echo(f"{site}: {len(lines)} miner{'s' if len(lines) != 1 else ''}, nothing wrong")


def print_schema() -> None:
    """Print the JSON Schema of a site file, for editors.

    Example: hashmargin config schema > configs/site.schema.json
    """
    typer.echo(schema_text(site_schema()), nl=False)


def _line(config: SiteConfig, miner: MinerConfig, catalogue: Catalogue) -> _Line:
    profile = catalogue.find(miner.model) if miner.model is not None else None
    if profile is None:
        note = "model and bounds are settled when the miner first answers"
        return _Line(miner, None, config.mode_of(miner, None), (), (note,))
    overrides = overrides_for(config, miner, profile.key)
    # Until the miner has been asked, the vendor's own firmware is the likeliest.
    firmware = FAMILIES[miner.family].firmware if miner.family is not None else "stock"
    bounds = effective_bounds(profile, firmware, None, overrides)
    mode = config.mode_of(miner, profile.key)
    return _Line(miner, profile, mode, bounds, tuple(_notes(profile, firmware, bounds, mode)))


def _notes(profile: HardwareProfile, firmware: str, bounds: tuple[Bounds, ...], mode: str) -> list[str]:
    notes = []
    if profile.status == "read-only":
        notes.append("profile is read-only: nothing will be set")
    elif not profile.controls_of(firmware):
        notes.append(f"nothing is known to be settable under {firmware} firmware")
    elif not bounds and all(c.needs_reported_range for c in profile.controls_of(firmware)):
        pass
    elif not any(_open(bound) for bound in bounds):
        notes.append("the site's bounds leave nothing to set")
    elif mode == "apply" and profile.status == "tested":
        notes.append("applies to a model that is tested on the simulator only")
    if profile.status != "read-only":
        waiting = [c.knob for c in profile.controls_of(firmware) if c.needs_reported_range]
        notes += [f"{knob} only if the unit reports its range" for knob in waiting]
    return notes


def _open(bound: Bounds) -> bool:
    if bound.choices is not None:
        return bool(bound.choices)
    if bound.minimum is None or bound.maximum is None:
        return True
    return bound.minimum <= bound.maximum


def _secret_problems(config: SiteConfig) -> list[str]:
    """Every login and token that cannot be read safely. The secrets themselves are dropped at once."""
    problems = []
    for name, login in config.credentials.items():
        try:
            read_secret(login.password_file, login.systemd_credential)
        except ConfigError as error:
            problems.append(f"credentials.{name}: {error}")
    if config.dashboard is not None:
        try:
            read_secret(config.dashboard.token_file, config.dashboard.systemd_credential)
        except ConfigError as error:
            problems.append(f"dashboard: {error}")
    for source in config.sources:
        if isinstance(source, WithSecret) and source.has_token:
            try:
                read_secret(source.token_file, source.systemd_credential)
            except ConfigError as error:
                problems.append(f"sources: {source.name}: {error}")
    return problems


def _file_problems(config: SiteConfig) -> list[str]:
    """Files of prices, weather and coins without which the agent would not start."""
    problems = []
    opens: tuple[Callable[[], object], ...] = (lambda: Economics(config), lambda: open_desk(config, None))
    for opened in opens:
        try:
            opened()
        except (ConfigError, DataError) as error:
            problems.append(str(error))
    return problems


def _warnings(config: SiteConfig) -> list[str]:
    carried = {tag for miner in config.miners for tag in miner.tags}
    named = [("modes_by_tag", tag) for tag in config.modes_by_tag]
    named += [("bounds_by_tag", tag) for tag in config.bounds_by_tag]
    return [f"{section}.{tag}: no miner carries this tag" for section, tag in named if tag not in carried]


def _table(config: SiteConfig, lines: list[_Line]) -> Table:
    table = Table(
        title=f"site {config.site.id}, mode {config.mode}",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
    )
    for name in ("miner", "model", "mode", "may be set to", "notes"):
        table.add_column(name, no_wrap=name == "miner")
    for line in lines:
        table.add_row(
            line.miner.id or line.miner.address,
            line.profile.key if line.profile is not None else "?",
            line.mode,
            "\n".join(bound.describe() for bound in line.bounds) or "nothing yet",
            "\n".join(line.notes),
        )
    return table


def _document(
    config: SiteConfig, lines: list[_Line], problems: list[str], warnings: list[str]
) -> dict[str, Any]:
    return {
        "site": config.site.id,
        "mode": config.mode,
        "problems": problems,
        "warnings": warnings,
        "miners": [
            {
                "id": line.miner.id,
                "address": line.miner.address,
                "family": line.miner.family,
                "model": line.profile.key if line.profile is not None else None,
                "status": line.profile.status if line.profile is not None else None,
                "tags": line.miner.tags,
                "mode": line.mode,
                "credentials": line.miner.credentials,
                "bounds": [
                    {
                        "knob": str(bound.knob),
                        "minimum": bound.minimum,
                        "maximum": bound.maximum,
                        "choices": bound.choices,
                        "binding": bound.binding,
                    }
                    for bound in line.bounds
                ],
                "notes": line.notes,
            }
            for line in lines
        ],
    }
