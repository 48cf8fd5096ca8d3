"""`hashmargin status`: the last whole cycle of a running agent, once or live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from agent.cli.stored import site_store
from agent.cli.tables import console_for, fleet_table
from agent.errors import StoreError


def register(app: typer.Typer) -> None:
    """Add the command `status`."""
    app.command("status")(status)


def status(
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    watch: Annotated[bool, typer.Option("--watch", help="Keep the table on screen and refresh it.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Show every miner: hashrate, power, J/TH, profit now, recommended setting, expected gain and why.

    Example: [bold]hashmargin status --config site.yaml --watch[/bold]
    """
    with site_store(config) as store:
        if json_:
            summary = store.latest_summary()
            if summary is None:
                raise StoreError("no cycle has been finished yet; is the agent running?")
            typer.echo(summary.model_dump_json(indent=2))
            return
        console = console_for(sys.stdout.isatty())
        if not watch:
            summary = store.latest_summary()
            if summary is None:
                raise StoreError("no cycle has been finished yet; is the agent running?")
            console.print(fleet_table(summary, store.alerts()))
            return
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            try:
                while True:
                    summary = store.latest_summary()
                    if summary is not None:
                        live.update(fleet_table(summary, store.alerts()), refresh=True)
                    time.sleep(1.0)
            except KeyboardInterrupt:
                return
