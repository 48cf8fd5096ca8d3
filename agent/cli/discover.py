"""`hashmargin discover`: find miners on the network and keep the inventory file in step."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from agent.cli.tables import console_for
from agent.clock import SystemClock
from agent.config import read_secret
from agent.devices.device import Credentials, Ports
from agent.discovery.changes import Change, Plan, plan_changes
from agent.discovery.inventory import Inventory
from agent.discovery.pace import parse_rate
from agent.discovery.ranges import Ranges, parse_ranges
from agent.discovery.scan import Scan, ScanOptions
from agent.errors import InputError
from agent.hardware.catalogue import Catalogue

_LINE_EVERY_S = 10.0
_INTERRUPTED = 130
_SHOWN = 10
_COLOURS = {
    "added": "green",
    "moved": "cyan",
    "identified": "cyan",
    "firmware": "cyan",
    "unverified": "yellow",
    "unclear": "yellow",
    "not_seen": "yellow",
    "conflict": "bold red",
}


def register(app: typer.Typer) -> None:
    """Add the command `discover`."""
    app.command("discover")(discover)


def discover(
    ranges: Annotated[list[str], typer.Argument(metavar="CIDR...", help="Ranges or single addresses.")],
    inventory: Annotated[Path, typer.Option(help="The file to write or update.")] = Path("inventory.yaml"),
    concurrency: Annotated[int, typer.Option(min=1, max=2000, help="Hosts under way at once.")] = 256,
    rate: Annotated[str, typer.Option(help="New connections, as 200/s or 6000/min.")] = "200/s",
    timeout: Annotated[float, typer.Option(min=0.1, max=120.0, help="Seconds for one host.")] = 10.0,
    user: Annotated[str | None, typer.Option(help="Login; default is the factory's.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File of mode 0600 with the password.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where miners speak instead of 4028.")] = 4028,
    web_port: Annotated[int, typer.Option(min=1, max=65535, help="Their web pages.")] = 80,
    api_v3_port: Annotated[int, typer.Option(min=1, max=65535, help="Whatsminer API v3.")] = 4433,
    force_large: Annotated[
        bool, typer.Option("--force-large", help="Search more than 65,536 addresses.")
    ] = False,
    allow_public: Annotated[
        bool, typer.Option("--allow-public", help="Search ranges that are not private. Only your own!")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; write nothing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find miners and write them to the inventory. No miner is changed; other hosts are asked who they are.

    Entries are known by MAC: one that moved gets its new address, a new one is added, an absent one is kept
    and named. Comments, names and order stay as you wrote them. Exit code 1 if not one miner was found.

    Example: [bold]hashmargin discover 10.0.1.0/24 10.0.2.0/24[/bold]
    """
    wanted = parse_ranges(ranges, force_large=force_large, allow_public=allow_public)
    if (user is None) != (password_file is None):
        raise InputError("--user and --password-file belong together")
    login = Credentials(user, read_secret(password_file, None)) if user is not None else None
    options = ScanOptions(
        concurrency,
        parse_rate(rate),
        timeout,
        Ports(api=port, web=web_port, api_v3=api_v3_port),
        login,
    )
    # What is wrong with the file is said before the search, not after it.
    Inventory.load(inventory)
    if not dry_run:
        _check_writable(inventory)
    scan = Scan(wanted, options, SystemClock())
    with _progress(wanted, scan, quiet=json_) as on_host:
        try:
            asyncio.run(scan.run(on_host))
        except KeyboardInterrupt:
            typer.echo("stopped: absences are not known, and the inventory stays as it is", err=True)
    # The file as it is now: somebody may have edited it while the search went on.
    file = Inventory.load(inventory)
    searched = scan.ranges if scan.complete else None
    plan = plan_changes(file.miners, scan.found, Catalogue.load(), searched=searched, api_port=port)
    raw = file.changed_by(plan)
    outcome = "nothing to change" if raw is None else "not written"
    problem: InputError | None = None
    if raw is not None and scan.complete and not dry_run:
        try:
            file.save(raw)
            outcome = "written"
        except InputError as error:
            problem = error
    if json_:
        document = _document(scan, plan, inventory, written=outcome == "written")
        typer.echo(json.dumps(document, indent=2))
    else:
        _show(scan, plan, inventory, outcome)
    if problem is not None:
        raise problem
    if not scan.complete:
        raise typer.Exit(_INTERRUPTED)
    if not scan.found:
        raise typer.Exit(1)


def _check_writable(inventory: Path) -> None:
    folder = inventory.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written to; the inventory is replaced as a whole")


@contextmanager
def _progress(ranges: Ranges, scan: Scan, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on stderr."""
    total = len(ranges)
    if not quiet and sys.stderr.isatty():
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task(f"searching {total:,} addresses", total=total)

            def advance() -> None:
                words = f"{total:,} addresses, {len(scan.found):,} miners"
                progress.update(bar, advance=1, description=words)

            yield advance
        return
    said_at = time.monotonic()

    def line() -> None:
        nonlocal said_at
        if not quiet and time.monotonic() - said_at >= _LINE_EVERY_S:
            said_at = time.monotonic()
            typer.echo(f"{scan.asked:,} of {total:,} addresses, {len(scan.found):,} miners", err=True)

    yield line


def _show(scan: Scan, plan: Plan, inventory: Path, outcome: str) -> None:
    console = console_for(sys.stdout.isatty())
    if plan.changes:
        console.print(changes_table(plan.changes))
    for stranger in scan.strangers[:_SHOWN]:
        words = Text(f"no miner: {stranger.address}: {stranger.said}", style="dim")
        console.print(words, overflow="ellipsis", no_wrap=True)
    if scan.stranger_count > _SHOWN:
        console.print(f"and {scan.stranger_count - _SHOWN:,} more hosts that are no miners", style="dim")
    same = f", {plan.unchanged:,} as they were" if plan.unchanged else ""
    console.print(f"{scan.asked:,} addresses asked, {len(scan.found):,} miners found{same}", highlight=False)
    if scan.complete:
        console.print(f"{inventory}: {outcome}", highlight=False, soft_wrap=True)


def changes_table(changes: tuple[Change, ...]) -> Table:
    """Every difference, one a row; those marked * are written."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("", "change", "miner", "address", "MAC"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold")
    for change in changes:
        colour = _COLOURS[change.kind]
        cells = (
            "*" if change.written else "",
            change.kind.replace("_", " "),
            change.miner or "",
            change.address,
            change.mac or "?",
        )
        table.add_row(*(Text(cell, style=colour) for cell in cells), Text(change.detail))
    return table


def _document(scan: Scan, plan: Plan, inventory: Path, *, written: bool) -> dict[str, Any]:
    return {
        "inventory": str(inventory),
        "written": written,
        "complete": scan.complete,
        "asked": scan.asked,
        "found": [{name: getattr(miner, name) for name in miner.__slots__} for miner in scan.found],
        "changes": [change.to_dict() for change in plan.changes],
        "unchanged": plan.unchanged,
        "strangers": [{"address": one.address, "said": one.said} for one in scan.strangers],
        "strangers_total": scan.stranger_count,
    }
