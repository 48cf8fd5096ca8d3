"""`hashmargin capture`: save one miner's raw replies, for a bug report or a test case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.poll import ports_for
from agent.clock import SystemClock
from agent.config import read_secret
from agent.devices.device import Credentials, Endpoint
from agent.devices.families import FAMILIES, family
from agent.devices.identify import identify_family
from agent.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command `capture`."""
    app.command("capture")(capture)


def capture(
    address: Annotated[str, typer.Argument(help="Address of the miner.")],
    out: Annotated[Path, typer.Option(help="Folder for the replies; made if absent, must be empty.")],
    family_: Annotated[
        str | None, typer.Option("--family", help=f"{', '.join(FAMILIES)}. Default: ask.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The family's main port.")] = None,
    web_port: Annotated[int, typer.Option(min=1, max=65535)] = 80,
    status_port: Annotated[int, typer.Option(min=1, max=65535)] = 6060,
    username: Annotated[str | None, typer.Option(help="Login; default is the factory's.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File of mode 0600 with the password.")] = None,
    deadline: Annotated[float, typer.Option(min=0.1, max=120.0, help="Seconds per request.")] = 10.0,
) -> None:
    """Save the raw replies of one miner, one file per command, with passwords, tokens and salts taken out.

    Worker names and addresses stay in: look before you publish. `hashmargin decode` reads the folder.

    Example: [bold]hashmargin capture 10.0.1.17 --out s19-report[/bold]
    """
    if family_ is not None:
        family(family_)
    if (username is None) != (password_file is None):
        raise InputError("--username and --password-file belong together")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder")
    login = Credentials(username, read_secret(password_file, None)) if username is not None else None
    endpoint = Endpoint(address, ports_for(family_, port, web_port, status_port), login, deadline)
    name, replies = asyncio.run(_capture(endpoint, family_))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, raw in sorted(replies.items()):
            (out / file).write_bytes(raw)
            typer.echo(f"{out / file}  {len(raw)} bytes")
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error
    typer.echo(f"{len(replies)} replies; read them with: hashmargin decode {name} {out}")


async def _capture(endpoint: Endpoint, name: str | None) -> tuple[str, dict[str, bytes]]:
    clock = SystemClock()
    name = name or await identify_family(endpoint, clock)
    return name, await family(name).capture(endpoint, clock)
