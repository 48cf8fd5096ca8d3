"""`hashmargin pools`: whom the miners of a site hash for, and how to change that for all of them."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.pools_report import (
    say_done,
    say_plan,
    say_shown,
    set_document,
    show_document,
)
from agent.cli.pools_run import PoolsRun, chosen, progress
from agent.clock import parse_clock
from agent.config import load_site
from agent.hardware.jsonschema import pools_schema, schema_text
from agent.polling.poller import Poller
from agent.pools.file import load_pools, worker_name, worker_names
from agent.pools.guard import PoolGuard
from agent.pools.survey import name_of, survey, targets, trust_of
from agent.state_lock import sole_holder

HELP = """Show whom the miners hash for, against the pools the site trusts, and give them other pools.

Example: hashmargin pools show --config /etc/hashmargin/site.yaml
"""
FAILED, NOBODY_TRUSTED, STRANGERS, UNREAD = 1, 2, 3, 4
_HELD = (
    "it speaks to these miners, and a miner takes one connection at a time. Stop it "
    "(systemctl stop hashmargin-agent), run this again, start it again; "
    "miners keep their setting meanwhile"
)

Config = Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")]
Miners = Annotated[
    list[str] | None,
    typer.Option("--miner", help="Id, MAC, address or tag, or a pattern such as 'rack-1-*'; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SimulatedTime = Annotated[str | None, typer.Option(help="Simulated time; default is the wall clock.")]


def register(app: typer.Typer) -> None:
    """Add the group `pools`."""
    group = typer.Typer(no_args_is_help=True, help=HELP)
    group.command("show")(show_pools)
    group.command("set")(set_pools)
    group.command("schema")(print_schema)
    app.add_typer(group, name="pools")


def show_pools(
    config: Config,
    miner: Miners = None,
    concurrency: Annotated[int, typer.Option(min=1, max=2000, help="Miners read at once.")] = 200,
    clock: SimulatedTime = None,
    json_: AsJson = False,
) -> None:
    """Read the pools of every miner and mark those that the site does not trust. Nothing is changed.

    Exit code 0: every pool is trusted. 3: one is not. 4: some miners could not be read. 2: the site lists
    no trusted pools, or something is wrong with the call.

    Example: [bold]hashmargin pools show --config site.yaml --miner 'rack-1-*'[/bold]
    """
    site = load_site(config)
    guard = PoolGuard(site.trusted_pools)
    part = chosen(site, miner)
    poller = Poller(targets(part), parse_clock(clock), concurrency)
    with progress("reading", len(part.miners), quiet=json_) as advance:
        found = asyncio.run(survey(part.miners, poller, lambda _: advance()))
    unread = [one for one in found if one.pools is None]
    strangers = [one for one in found if any(trust_of(p, guard) == "not_trusted" for p in one.pools or ())]
    if json_:
        typer.echo(json.dumps(show_document(site, found, guard), indent=2))
    else:
        workers = {name_of(m): worker_name(m) for m in part.miners}
        say_shown(found, guard, workers, config)
    if strangers:
        raise typer.Exit(STRANGERS)
    if unread:
        raise typer.Exit(UNREAD)
    if not guard.patterns:
        raise typer.Exit(NOBODY_TRUSTED)


def set_pools(
    config: Config,
    pools: Annotated[Path, typer.Option(help="The pools to set: url, user, password_file of one to three.")],
    miner: Miners = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this nothing is sent.")] = False,
    clock: SimulatedTime = None,
    json_: AsJson = False,
) -> None:
    """Give miners the pools of a file. Without --yes it only shows what each has and would have.

    With --yes one miner comes first, alone; when it shows the new pools the others follow, a few at a time.
    Three failures end it. The agent of the site must not run meanwhile. {miner} in a user is the miner's id.

    Exit code 0: done, or nothing stands in the way. 1: a miner failed, or is not known to have taken them, or
    the run ended early. 4: some miners were left out (not read, another machine, not written by us).

    Example: [bold]hashmargin pools set --config site.yaml --pools pools.yaml --miner rack-1-07 --yes[/bold]
    """
    site = load_site(config)
    guard = PoolGuard(site.trusted_pools)
    wanted = load_pools(pools, guard, config)
    workers = worker_names(site.miners, wanted)
    run = PoolsRun(chosen(site, miner), guard, wanted, workers, parse_clock(clock), quiet=json_)
    if yes:
        with sole_holder(site.state_dir, _HELD, "hashmargin pools set"):
            result = asyncio.run(run.carry_out())
    else:
        result = asyncio.run(run.look())
    if json_:
        typer.echo(json.dumps(set_document(run, result), indent=2))
    elif yes:
        say_done(result)
    else:
        say_plan(run, result, _command(config, pools, miner))
    states = {outcome.state for outcome in result.outcomes}
    if result.halted is not None or states & {"failed", "unknown"}:
        raise typer.Exit(FAILED)
    if result.left_out or "skipped" in states:
        raise typer.Exit(UNREAD)


def print_schema() -> None:
    """Print the JSON Schema of a pools file, for editors.

    Example: hashmargin pools schema > configs/pools.schema.json
    """
    typer.echo(schema_text(pools_schema()), nl=False)


def _command(config: Path, pools: Path, patterns: list[str] | None) -> str:
    words = ["hashmargin", "pools", "set", "--config", str(config), "--pools", str(pools)]
    for pattern in patterns or ():
        words += ["--miner", pattern]
    return shlex.join([*words, "--yes"])
