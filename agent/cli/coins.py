"""`hashmargin coins`: what each SHA-256 coin pays a TH/s after all that is lost on the way."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from agent.advice.coin_switch import coin_book
from agent.advice.coins import load_coins
from agent.advice.desk import market_feeds
from agent.cli.tables import console_for
from agent.clock import parse_clock
from agent.config import load_site
from agent.errors import InputError
from agent.hardware.jsonschema import coins_schema, schema_text
from agent.pools.guard import PoolGuard


def register(app: typer.Typer) -> None:
    """Add the group `coins`."""
    group = typer.Typer(no_args_is_help=True, help="Compare what SHA-256 coins pay after all costs.")
    group.command("show")(show)
    group.command("schema")(print_schema)
    app.add_typer(group, name="coins")


def show(
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    clock: Annotated[str | None, typer.Option(help="Simulated time; default is the wall clock.")] = None,
) -> None:
    """Show each coin's net revenue now, by its cheapest trusted pool.

    Example: [bold]hashmargin coins show --config site.yaml[/bold]
    """
    site = load_site(config)
    if site.advice.coins is None:
        raise InputError(f"{config}: advice.coins names no file; copy configs/coins.yaml and name it there")
    coins = load_coins(site.advice.coins)
    markets = {code: feed.value for code, feed in market_feeds(coins, site).items()}
    book = coin_book(coins, markets, PoolGuard(site.trusted_pools), parse_clock(clock).now())
    rows = [
        {
            "coin": code,
            "gross_usd_per_ths_day": float(gross) if math.isfinite(gross) else None,
            "kept_share": float(kept) if math.isfinite(kept) else None,
            "net_usd_per_ths_day": float(net) if math.isfinite(net) else None,
            "pool": url,
        }
        for code, gross, kept, net, url in zip(
            book.codes, book.gross[-1], book.kept, book.net, book.urls, strict=True
        )
    ]
    if json_:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("coin", "gross USD/PH/day", "kept", "net USD/PH/day", "pool"):
        table.add_column(name, justify="left" if name in ("coin", "pool") else "right")
    for row in rows:
        gross, kept, net = (
            row[key] for key in ("gross_usd_per_ths_day", "kept_share", "net_usd_per_ths_day")
        )
        table.add_row(
            str(row["coin"]),
            f"{1000.0 * gross:.2f}" if isinstance(gross, float) else "unknown",
            f"{kept:.1%}" if isinstance(kept, float) else "",
            f"{1000.0 * net:.2f}" if isinstance(net, float) else "",
            str(row["pool"] or "no trusted pool"),
        )
    console_for(sys.stdout.isatty()).print(table)


def print_schema() -> None:
    """Print the JSON Schema of the coins file.

    Example: hashmargin coins schema > configs/coins.schema.json
    """
    typer.echo(schema_text(coins_schema()), nl=False)
