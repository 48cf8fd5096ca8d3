"""`hashmargin poll`: read miners once."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from agent.cli.poll_table import results_table
from agent.cli.tables import console_for
from agent.clock import Clock, parse_clock
from agent.config import SiteConfig, load_site, read_secret
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.families import FAMILIES, family
from agent.errors import InputError, Unreachable
from agent.polling.poller import Poller, PollTarget
from agent.telemetry import PollResult

MAX_HOSTS = 65_536
_HOST = re.compile(r"^[A-Za-z][A-Za-z0-9.-]{0,252}$")


def register(app: typer.Typer) -> None:
    """Add the command `poll`."""
    app.command("poll")(poll)


def poll(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Addresses, CIDR ranges, or ids, tags or addresses of the site file."),
    ] = None,
    family_: Annotated[
        str | None, typer.Option("--family", help=f"{', '.join(FAMILIES)}. Default: ask.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The family's main port.")] = None,
    web_port: Annotated[int, typer.Option(min=1, max=65535, help="Antminer web pages.")] = 80,
    status_port: Annotated[int, typer.Option(min=1, max=65535, help="Antminer status server.")] = 6060,
    config: Annotated[Path | None, typer.Option(help="The site file, for names and logins.")] = None,
    username: Annotated[str | None, typer.Option(help="Login; default is the factory's.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File of mode 0600 with the password.")] = None,
    deadline: Annotated[
        float | None,
        typer.Option(min=0.1, max=120.0, help="Seconds per miner; default is the site's, else 10."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=2000, help="Miners read at once.")] = 200,
    clock: Annotated[str | None, typer.Option(help="Simulated time; default is the wall clock.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read miners once and print a table. Nothing is changed.

    Watts marked [bold]m[/bold] are measured by the miner, [bold]e[/bold] are the firmware's estimate,
    [bold]?[/bold] is unknown. Exit code 1 if not one miner answered.

    Example: [bold]hashmargin poll 10.0.1.0/24[/bold]
    """
    if family_ is not None:
        family(family_)
    if not targets and config is None:
        raise InputError("name at least one address, CIDR range, or a site file with --config")
    if (username is None) != (password_file is None):
        raise InputError("--username and --password-file belong together")
    login = None
    if username is not None:
        login = Credentials(username, read_secret(password_file, None))
    base = Endpoint("", ports_for(family_, port, web_port, status_port), login, deadline or 10.0)
    site = load_site(config) if config is not None else None
    chosen, scanned = _targets(targets or [], site, family_, base)
    if deadline is not None:
        chosen = [replace(t, endpoint=replace(t.endpoint, deadline_s=deadline)) for t in chosen]
    results = asyncio.run(_poll(chosen, parse_clock(clock), concurrency, quiet=json_))
    silent = [r for r in results if r.address in scanned and isinstance(r.error, Unreachable)]
    shown = [r for r in results if r not in silent]
    families = {t.endpoint.address: t.family for t in chosen}
    if json_:
        typer.echo(json.dumps([_plain(r, families.get(r.address)) for r in shown], indent=2))
    else:
        console = console_for(sys.stdout.isatty())
        console.print(results_table(shown))
        if silent:
            console.print(f"{len(silent)} addresses of the ranges did not answer", style="dim")
    if not any(result.reading is not None for result in results):
        raise typer.Exit(1)


def ports_for(name: str | None, port: int | None, web_port: int, status_port: int) -> Ports:
    """Ports of a miner where `port` stands for the family's main one."""
    ports = Ports(web=web_port, status=status_port)
    if port is None:
        return ports
    main = FAMILIES[name].main_port if name is not None else "api"
    return replace(ports, api_v3=port) if main == "api_v3" else replace(ports, api=port)


async def _poll(chosen: list[PollTarget], clock: Clock, concurrency: int, *, quiet: bool) -> list[PollResult]:
    poller = Poller(chosen, clock, concurrency)
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        bar = progress.add_task(f"reading {len(chosen)} addresses", total=len(chosen))
        return await poller.poll_once(lambda _: progress.advance(bar))


def _targets(
    words: list[str], site: SiteConfig | None, family_: str | None, base: Endpoint
) -> tuple[list[PollTarget], set[str]]:
    """What to poll, each address once, and those that come from a range."""
    found: dict[tuple[str, int], PollTarget] = {}
    scanned: set[str] = set()
    for target in _of_site(words, site):
        found[target.endpoint.address, target.endpoint.ports.api] = target
    for word in words:
        if site is not None and _in_site(word, site):
            continue
        for address in _addresses(word):
            if "/" in word:
                scanned.add(address)
            if len(found) >= MAX_HOSTS:
                raise InputError(f"more than {MAX_HOSTS} addresses; poll in parts")
            endpoint = replace(base, address=address)
            found.setdefault((address, endpoint.ports.api), PollTarget(address, endpoint, family_))
    return list(found.values()), scanned


def _of_site(words: list[str], site: SiteConfig | None) -> Iterator[PollTarget]:
    if site is None:
        return
    for miner in site.miners:
        names = {miner.address, miner.id, *miner.tags}
        if not words or names & set(words):
            yield PollTarget(miner.id or miner.address, site.endpoint(miner), miner.family)


def _in_site(word: str, site: SiteConfig) -> bool:
    return any(word in {miner.address, miner.id, *miner.tags} for miner in site.miners)


def _addresses(word: str) -> Iterator[str]:
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        if _HOST.match(word):
            yield word
            return
        raise InputError(f"{word!r} is no address, CIDR range or name of the site file") from None
    if network.num_addresses > MAX_HOSTS:
        raise InputError(f"{word} holds {network.num_addresses} addresses; at most {MAX_HOSTS} at a time")
    if "/" not in word:
        yield str(network.network_address)
        return
    yield from (str(host) for host in network.hosts())


def _plain(result: PollResult, family_: str | None) -> dict[str, Any]:
    reading, error = result.reading, result.error
    return {
        "address": result.address,
        "miner_id": reading.miner_id if reading is not None and reading.miner_id else result.miner_id,
        "family": result.family or family_,
        "reading": reading.to_dict() if reading is not None else None,
        "error": {"kind": error.kind, "detail": error.detail} if error is not None else None,
        "duration_ms": round(1000.0 * (result.finished_at - result.started_at).total_seconds(), 1),
    }
