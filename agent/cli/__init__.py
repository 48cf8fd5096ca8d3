"""The command `hashmargin`. A subcommand's module is imported only when it is asked for.

This is the one place in `agent` that reaches the trainer, the dashboard and the simulator, and it
does so by name, at the moment of use, so that a base install runs without them.

A subcommand module has `register(app)`, which adds its command or group under its own name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import typer

from agent import __version__
from agent.errors import DeviceError, HashmarginError


class Sub(NamedTuple):
    """Where a subcommand lives, the extra that brings it, and its line in `--help`."""

    module: str
    extra: str | None
    line: str


SUBCOMMANDS: dict[str, Sub] = {
    "demo": Sub("simulator.demo", "simulator", "Run the whole product on a simulated farm."),
    "poll": Sub("agent.cli.poll", None, "Read miners once and print a table."),
    "discover": Sub("agent.cli.discover", None, "Find miners on the network and keep the inventory."),
    "pools": Sub("agent.cli.pools", None, "Show every miner's pools against the trusted list; set them."),
    "coins": Sub("agent.cli.coins", None, "Compare what SHA-256 coins pay after all costs."),
    "capture": Sub("agent.cli.capture", None, "Save one miner's raw replies, redacted."),
    "decode": Sub("agent.cli.decode", None, "Turn saved replies into a Reading."),
    "devices": Sub(
        "agent.cli.devices", None, "Show what each firmware can be asked and told, and its errors."
    ),
    "hardware": Sub("agent.cli.hardware", None, "List, show and check hardware profiles."),
    "config": Sub("agent.cli.config", None, "Check a site file and show what it means."),
    "run": Sub("agent.cli.run", None, "Run the agent daemon of one site."),
    "status": Sub("agent.cli.status", None, "Show what the agent sees and recommends."),
    "recommendations": Sub("agent.cli.recommendations", None, "List, approve or reject recommendations."),
    "plan": Sub("agent.cli.plan", None, "Show what the fleet will do over the coming hours, and what if."),
    "explain": Sub("agent.cli.explain", None, "Say in words why a recommendation was made."),
    "ledger": Sub("agent.cli.ledger", None, "Show expected against realised, act by act."),
    "lake": Sub("agent.cli.lake", "lake", "Check and show a lake of telemetry."),
    "models": Sub("agent.cli.models", None, "Show, verify, compare and promote model bundles."),
    "train": Sub("trainer.cli", "trainer", "Learn power and profit models from telemetry."),
    "dashboard": Sub("dashboard.cli", "dashboard", "Serve the fleet dashboard."),
    "backtest": Sub(
        "simulator.backtest.cli", "simulator", "What each way of running a farm would have earned."
    ),
    "simulate": Sub("simulator.cli", "simulator", "Run simulated miners, or make history."),
}


def build(arguments: list[str]) -> typer.Typer:
    """The command line for `arguments`: the named subcommand whole, the others as lines of help."""
    app = typer.Typer(
        name="hashmargin",
        help="Keeps every miner of a site at its most profitable power setting.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    def show_version(value: bool) -> None:
        if value:
            typer.echo(f"hashmargin {__version__}")
            raise typer.Exit

    @app.callback()
    def top(
        version: bool = typer.Option(
            False, "--version", help="Print the version and exit.", callback=show_version, is_eager=True
        ),
    ) -> None:
        """Keeps every miner of a site at its most profitable power setting."""

    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, sub in SUBCOMMANDS.items():
        if name == wanted:
            _load(name, sub)(app)
        else:
            app.command(name, help=sub.line)(lambda: None)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done, 1 a miner or service failed, 2 something to mend by a person."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        build(words)(args=words, prog_name="hashmargin")
    except DeviceError as error:
        typer.echo(f"error: {error.kind}: {error}", err=True)
        raise SystemExit(1) from error
    except HashmarginError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


def _load(name: str, sub: Sub) -> Callable[[typer.Typer], None]:
    try:
        module = importlib.import_module(sub.module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if sub.extra is None or missing == "agent":
            raise
        raise HashmarginError(
            f"'hashmargin {name}' needs the package {missing}; install it with: "
            f"pip install 'hashmargin[{sub.extra}]'"
        ) from error
    register: Callable[[typer.Typer], None] = module.register
    return register
