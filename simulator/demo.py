"""`hashmargin demo`: the whole product on a simulated farm, live or for a bounded number of cycles.

Setting it up is `simulator.demo_setup`'s; here it is shown, and with `--once` judged.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from agent.cli.tables import acts_table, console_for, fleet_table
from agent.errors import HashmarginError
from agent.records import Act, Summary
from simulator.demo_approval import Approver
from simulator.demo_setup import OPERATOR, Demo
from simulator.processes import Processes

# Without a terminal to redraw, a table every half hour of simulated time is enough.
_PRINT_EVERY_S = 1800.0
_APPROVE = 6


def register(app: typer.Typer) -> None:
    """Add the command `demo`."""
    app.command("demo")(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Run a bounded number of cycles, approve some changes, then stop.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="With --once: print the summary as JSON.")] = False,
    folder: Annotated[
        Path, typer.Option("--dir", help="Where everything is kept; made anew each time.")
    ] = Path(".demo"),
    factor: Annotated[float, typer.Option(min=1.0, max=600.0, help="Simulated seconds per second.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of farm, history and training.")] = 7,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Dashboard port; 0 takes a free one.")] = 8420,
    cycles: Annotated[int, typer.Option(min=40, max=2000, help="With --once: agent cycles at most.")] = 240,
) -> None:
    """Run the whole product on 24 simulated miners that speak the real protocols.

    It makes training history, trains the models, starts farm, dashboard and agent, and shows the live
    table until Ctrl-C, which stops everything.

    Example: [bold]hashmargin demo --once[/bold]
    """
    console = Console(stderr=True) if json_ or once else console_for(sys.stdout.isatty())
    with Processes(console) as processes:
        try:
            show = Demo(folder, factor, seed, port, processes)
            show.prepare()
            if once:
                _bounded(show, processes, cycles, console, as_json=json_)
            else:
                _live(show, processes, console)
        except KeyboardInterrupt:
            console.print("\nstopping everything")


def _live(show: Demo, processes: Processes, console: Console) -> None:
    show.wait_for_summary()
    password = show.password_file.read_text().strip()
    hint = Text(
        f"dashboard: {show.url}   user: {OPERATOR}   password: {password}\n"
        "Approve a recommendation there and watch it being applied and confirmed. Ctrl-C stops everything.",
        style="cyan",
    )
    console.print(hint)
    shown: datetime | None = None
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            processes.check()
            summary = show.summary()
            if summary is not None and _due(summary, shown, console):
                picture = Group(fleet_table(summary, show.alerts()), hint)
                if console.is_terminal:
                    live.update(picture, refresh=True)
                else:
                    console.print(picture)
                shown = summary.at
            time.sleep(0.5)


def _due(summary: Summary, shown: datetime | None, console: Console) -> bool:
    if shown is None:
        return True
    pause = 0.0 if console.is_terminal else _PRINT_EVERY_S
    return (summary.at - shown).total_seconds() > pause


def _bounded(show: Demo, processes: Processes, cycles: int, console: Console, *, as_json: bool) -> None:
    summary = show.wait_for_summary()
    approver = Approver(show.url, OPERATOR, show.password_file.read_text().strip())
    console.print("[bold]running the farm, approving on the dashboard as an operator would[/bold]")
    approved: list[str] = []
    acts: list[Act] = []
    with console.status("") as status:
        while summary.cycle < cycles:
            processes.check()
            summary = show.summary() or summary
            approved += approver.approve(limit=_APPROVE - len(approved))
            acts = show.acts()
            settled = sum(act.status not in ("intended", "sent") for act in acts)
            status.update(
                f"cycle {summary.cycle} of at most {cycles}: {len(approved)} approved, "
                f"{len(acts)} acts, {settled} settled"
            )
            if len(approved) >= _APPROVE and len(acts) >= len(approved) and settled == len(acts):
                break
            time.sleep(0.5)
    approver.close()
    confirmed = sum(act.status == "confirmed" for act in acts)
    if as_json:
        typer.echo(json.dumps(_report(show, summary, acts, approved), indent=2))
    else:
        out = console_for(sys.stdout.isatty())
        out.print(fleet_table(summary, show.alerts()))
        out.print(acts_table(acts))
        out.print(f"[bold]{confirmed} of {len(acts)} acts confirmed by telemetry[/bold]")
    if not confirmed:
        raise HashmarginError(
            f"no act was confirmed in {summary.cycle} cycles; see the logs in {show.folder}"
        )


def _report(show: Demo, summary: Summary, acts: list[Act], approved: list[str]) -> dict[str, object]:
    def counted(*statuses: str) -> int:
        return sum(act.status in statuses for act in acts)

    return {
        "miners_total": summary.miners_total,
        "miners_reachable": summary.miners_reachable,
        "cycles": summary.cycle,
        "models": summary.model,
        "model_is_fallback": summary.model_is_fallback,
        "profit_usd_per_day": summary.profit_usd_per_day,
        "profit_nominal_usd_per_day": summary.profit_nominal_usd_per_day,
        "profit_recommended_usd_per_day": summary.profit_recommended_usd_per_day,
        "approved": len(approved),
        "acts": len(acts),
        "acts_confirmed": counted("confirmed"),
        "acts_missed": counted("missed", "rolled_back"),
        "acts_failed": counted("failed"),
        "dashboard_url": show.url,
    }
