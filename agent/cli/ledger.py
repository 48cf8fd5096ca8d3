"""`hashmargin ledger`: what was expected of each act, what was sent, what telemetry showed."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.stored import site_store
from agent.cli.tables import acts_table, console_for
from agent.clock import parse_clock


def register(app: typer.Typer) -> None:
    """Add the command `ledger`."""
    app.command("ledger")(ledger)


def ledger(
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    days: Annotated[float, typer.Option(min=0.01, help="How far back to look.")] = 7.0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    clock: Annotated[str | None, typer.Option(help="Simulated time; default is the wall clock.")] = None,
) -> None:
    """Show every act with its expectation and its outcome, newest first.

    Example: [bold]hashmargin ledger --config site.yaml --days 30[/bold]
    """
    since = parse_clock(clock).now() - timedelta(days=days)
    with site_store(config) as store:
        acts = store.acts(since=since, limit=100_000)
    if json_:
        typer.echo(json.dumps([act.model_dump(mode="json") for act in acts], indent=2))
        return
    console = console_for(sys.stdout.isatty())
    if not acts:
        console.print(f"no act in the last {days:g} days")
        return
    console.print(acts_table(acts))
