"""`hashmargin recommendations`: list them, and decide on them at the site when the dashboard is away."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from agent.cli.stored import site_store
from agent.cli.tables import console_for, recommendations_table
from agent.clock import parse_clock
from agent.errors import InputError
from agent.records import Decision

ConfigOption = Annotated[Path, typer.Option("--config", help="The site file.", envvar="HASHMARGIN_CONFIG")]
ClockOption = Annotated[str | None, typer.Option(help="Simulated time; default is the wall clock.")]


def register(app: typer.Typer) -> None:
    """Add the group `recommendations`."""
    group = typer.Typer(no_args_is_help=True, help="List, approve or reject recommendations.")
    group.command("list")(list_)
    group.command("approve")(approve)
    group.command("reject")(reject)
    app.add_typer(group, name="recommendations")


def list_(
    config: ConfigOption,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that are decided, expired or done.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    clock: ClockOption = None,
) -> None:
    """List what the agent recommends now.

    Example: [bold]hashmargin recommendations list --config site.yaml[/bold]
    """
    with site_store(config) as store:
        found = store.recommendations(limit=1000) if all_ else store.recommendations("proposed")
    if json_:
        typer.echo(json.dumps([r.model_dump(mode="json") for r in found], indent=2))
        return
    console = console_for(sys.stdout.isatty())
    console.print(recommendations_table(found, parse_clock(clock).now()))
    if not found:
        console.print("nothing is proposed: no change pays for sure at present prices")


def approve(
    ids: Annotated[list[str], typer.Argument(help="Ids from `recommendations list`.")],
    config: ConfigOption,
    note: Annotated[str | None, typer.Option(help="Kept with the decision.")] = None,
    clock: ClockOption = None,
) -> None:
    """Approve recommendations; the running agent applies them in its next cycle.

    Example: [bold]hashmargin recommendations approve ID --config site.yaml[/bold]
    """
    _decide(ids, config, "approved", note, clock)


def reject(
    ids: Annotated[list[str], typer.Argument(help="Ids from `recommendations list`.")],
    config: ConfigOption,
    note: Annotated[str | None, typer.Option(help="Why; kept with the decision.")] = None,
    clock: ClockOption = None,
) -> None:
    """Reject recommendations.

    Example: [bold]hashmargin recommendations reject ID --note "new fan first" --config site.yaml[/bold]
    """
    _decide(ids, config, "rejected", note, clock)


def _decide(
    ids: list[str],
    config: Path,
    verdict: Literal["approved", "rejected"],
    note: str | None,
    clock: str | None,
) -> None:
    now = parse_clock(clock).now()
    with site_store(config) as store:
        # All are looked at before any is decided, so that a slip in one leaves the others alone.
        for identifier in ids:
            recommendation = store.recommendation(identifier)
            if recommendation is None:
                raise InputError(
                    f"{identifier}: no such recommendation; see: hashmargin recommendations list"
                )
            if recommendation.status != "proposed":
                raise InputError(
                    f"{identifier}: is {recommendation.status}; only a proposed one can be {verdict}"
                )
            if recommendation.expires_at <= now:
                raise InputError(f"{identifier}: expired at {recommendation.expires_at:%Y-%m-%d %H:%M} UTC")
        for identifier in ids:
            decision = Decision(
                seq=1, recommendation_id=identifier, verdict=verdict, by=getpass.getuser(), at=now, note=note
            )
            first = store.put_decision(decision, origin="site")
            typer.echo(
                f"{identifier}: {verdict}" if first else f"{identifier}: was decided before; that stands"
            )
