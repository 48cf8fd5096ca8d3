"""`hashmargin run`: the agent daemon in the foreground, for systemd or a terminal."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.clock import parse_clock
from agent.config import load_site
from agent.daemon import Agent
from agent.notify import Notifier


def register(app: typer.Typer) -> None:
    """Add the command `run`."""
    app.command("run")(run)


def run(
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    cycles: Annotated[int | None, typer.Option(min=1, help="Stop after this many cycles.")] = None,
    clock: Annotated[
        str | None,
        typer.Option(help="Simulated time, as `hashmargin simulate` prints it. Default: the wall clock."),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the agent of one site until it is asked to stop.

    The first Ctrl-C or SIGTERM lets commands on the wire finish; the second stops at once.
    Miners keep their last confirmed setting while no agent runs.

    Example: [bold]hashmargin run --config /etc/hashmargin/site.yaml[/bold]
    """
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise typer.BadParameter("expected debug, info, warning or error", param_hint="--log-level")
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("httpx", "httpcore", "asyncssh"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # A cycle that takes longer than its interval skips one; the scheduler would warn of it each time.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    agent = Agent(load_site(config), parse_clock(clock), Notifier(), cycles=cycles)
    code = asyncio.run(agent.run())
    if code:
        raise typer.Exit(code)
