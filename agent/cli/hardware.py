"""`hashmargin hardware`: the hardware profiles, for people and for editors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agent.cli.hardware_page import knob_names, markdown_table, model_page, model_table
from agent.errors import InputError
from agent.hardware.catalogue import Catalogue, check_folder, default_folder
from agent.hardware.jsonschema import hardware_schema, schema_text
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import nominal_hashrate_share, nominal_share
from agent.setting import Setting

Folder = Annotated[
    Path | None, typer.Option("--dir", help="Folder of profiles; by default the ones that ship.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the group `hardware`."""
    group = typer.Typer(no_args_is_help=True, help=HELP)
    group.command("list")(list_models)
    group.command("show")(show_model)
    group.command("check")(check_profiles)
    group.command("schema")(print_schema)
    app.add_typer(group, name="hardware")


HELP = """List, show and check hardware profiles.

A profile is one reviewed YAML file per model: rated figures, controls and bounds, each with its source.

Example: hashmargin hardware show S19j Pro
"""


def list_models(
    as_json: AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/hardware.md.")
    ] = False,
    folder: Folder = None,
) -> None:
    """List every model with its rated figures, status and controls.

    Example: hashmargin hardware list --json
    """
    if as_json and markdown:
        raise InputError("give --json or --markdown, not both")
    profiles = Catalogue.load(folder).profiles.values()
    if as_json:
        typer.echo(json.dumps([_summary(profile) for profile in profiles], indent=2))
    elif markdown:
        typer.echo(markdown_table(profiles), nl=False)
    else:
        Console().print(model_table(profiles))


def show_model(
    model: Annotated[list[str], typer.Argument(help="Key, name or what the firmware reports.")],
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Show one model: figures, layout, temperatures, controls, bounds and caveats, each with its source.

    Examples: hashmargin hardware show antminer-s21, hashmargin hardware show M30S++_VE40
    """
    text = " ".join(model)
    catalogue = Catalogue.load(folder)
    profile = catalogue.find(text)
    if profile is None:
        near = catalogue.close_matches(text)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"no profile for {text!r}; {hint}`hashmargin hardware list` shows all")
    if as_json:
        typer.echo(json.dumps(_whole(profile), indent=2, ensure_ascii=False))
    else:
        Console().print(model_page(profile))


def check_profiles(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of profiles; by default the ones that ship.")
    ] = None,
) -> None:
    """Check every profile of a folder; every bad file is named with line, key and what was expected.

    Exits with 2 if anything is wrong. Example: hashmargin hardware check configs/hardware
    """
    where = folder if folder is not None else default_folder()
    problems = check_folder(where)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        files = len({problem.path for problem in problems})
        typer.echo(f"{files} file{'s' if files != 1 else ''} of {where} cannot be used", err=True)
        raise typer.Exit(2)
    typer.echo(f"{where}: {len(Catalogue.load(where).profiles)} profiles, nothing wrong")


def print_schema() -> None:
    """Print the JSON Schema of a profile, for editors.

    Example: hashmargin hardware schema > configs/hardware.schema.json
    """
    typer.echo(schema_text(hardware_schema()), nl=False)


def _summary(profile: HardwareProfile) -> dict[str, Any]:
    return {
        "key": profile.key,
        "name": profile.name,
        "vendor": profile.vendor,
        "aliases": profile.aliases,
        "status": profile.status,
        "cooling": profile.cooling,
        "rated_hashrate_ths": profile.rated_hashrate_ths.value,
        "rated_power_w": profile.rated_power_w.value,
        "efficiency_j_th": round(profile.efficiency_j_th, 2),
        "controls": {firmware: knob_names(profile, firmware) for firmware in profile.controls},
    }


def _whole(profile: HardwareProfile) -> dict[str, Any]:
    """The profile as stored, plus what follows from it."""
    return {
        **profile.model_dump(mode="json"),
        "efficiency_j_th": round(profile.efficiency_j_th, 2),
        "bounds": {firmware: _bounds(profile, firmware) for firmware in profile.controls},
        "safe_setting_shares": _safe_shares(profile, profile.default_safe_setting.items()),
    }


def _bounds(profile: HardwareProfile, firmware: str) -> list[dict[str, Any]]:
    return [
        {
            "knob": str(bound.knob),
            "minimum": bound.minimum,
            "maximum": bound.maximum,
            "choices": bound.choices,
            "permitted": profile.status != "read-only",
        }
        for bound in profile.offered_bounds(firmware)
    ]


def _safe_shares(
    profile: HardwareProfile, safe: Iterable[tuple[str, str]]
) -> dict[str, dict[str, str | float]]:
    return {
        firmware: {
            "setting": text,
            "power_share": round(nominal_share(profile, firmware, Setting.parse(text)), 4),
            "hashrate_share": round(nominal_hashrate_share(profile, firmware, Setting.parse(text)), 4),
        }
        for firmware, text in safe
    }
