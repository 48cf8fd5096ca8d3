"""`hashmargin devices`: what each firmware family can be asked and told, and its error codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.devices_page import (
    devices_markdown,
    error_rows,
    errors_page,
    families_table,
    family_page,
    health_markdown,
    plain,
    put_between,
    to_json,
)
from agent.cli.tables import console_for
from agent.devices.error_codes import GRADES
from agent.devices.families import FAMILIES, family
from agent.errors import InputError
from agent.hardware.catalogue import Catalogue

DEVICES_COMMAND = "hashmargin devices --markdown --cases tests/cases"
HEALTH_COMMAND = "hashmargin devices --errors --markdown"


def register(app: typer.Typer) -> None:
    """Add the command `devices`."""
    app.command("devices")(devices)


def devices(
    family_: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help=f"{', '.join(FAMILIES)}. Default: all.")
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Error codes with their meaning and severity.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of docs/devices.md, or of docs/health.md.")
    ] = False,
    cases: Annotated[
        Path | None,
        typer.Option(help="With --markdown: saved replies that show which fields are reported."),
    ] = None,
    update: Annotated[
        Path | None, typer.Option(help="With --markdown: the page whose tables to replace.")
    ] = None,
) -> None:
    """What each firmware family is asked, what can be set on it and what that costs. No miner is touched.

    Whether a change restarts hashing, and for how long, is what the hardware profiles say. Severities are
    [bold]critical[/bold] (look today), [bold]warning[/bold] (this week) and [bold]info[/bold].

    Examples: [bold]hashmargin devices braiins[/bold], [bold]hashmargin devices --errors[/bold]
    """
    if as_json and markdown:
        raise InputError("give --json or --markdown, not both")
    if errors and family_ is not None:
        raise InputError("--errors shows the tables of every vendor; leave the family out")
    if not markdown and (cases is not None or update is not None):
        raise InputError("--cases and --update belong to --markdown")
    if family_ is not None:
        family(family_)
    if markdown:
        _print_markdown(errors, cases, update)
    elif as_json:
        typer.echo(_json(errors, family_))
    else:
        console = console_for(sys.stdout.isatty())
        page = errors_page() if errors else families_table()
        console.print(page if family_ is None else family_page(family_, Catalogue.load()))


def _json(errors: bool, name: str | None) -> str:
    if errors:
        grades = {grade: {"means": row.means, "do": row.do} for grade, row in GRADES.items()}
        return to_json({"severities": grades, "codes": error_rows()})
    catalogue = Catalogue.load()
    if name is not None:
        return to_json(plain(name, catalogue))
    return to_json([plain(each, catalogue) for each in FAMILIES])


def _print_markdown(errors: bool, cases: Path | None, update: Path | None) -> None:
    block = health_markdown() if errors else devices_markdown(Catalogue.load(), cases)
    if update is None:
        typer.echo(block, nl=False)
        return
    try:
        page = update.read_text(encoding="utf-8")
        new = put_between(page, block, HEALTH_COMMAND if errors else DEVICES_COMMAND)
        update.write_text(new, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{update} cannot be rewritten: {error.strerror}") from error
