"""`hashmargin dashboard`: serve the fleet dashboard, and add the sites and people that may use it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from pathlib import Path
from typing import Annotated

import typer

from agent.clock import SystemClock, parse_clock
from agent.config import read_secret
from agent.errors import InputError
from dashboard.database import open_database
from dashboard.lake import LakeKeeper
from dashboard.people import add_operator, add_site, has_operators, replace_token
from dashboard.relaying import Relaying
from dashboard.secrecy import write_secret
from dashboard.server import Listen, Service, Tls

_SITE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")
DbOption = Annotated[Path, typer.Option("--db", help="The fleet database, a SQLite file.")]


def register(app: typer.Typer) -> None:
    """Add the group `dashboard`."""
    group = typer.Typer(
        name="dashboard",
        no_args_is_help=True,
        help="Serve the fleet dashboard, where sites report and people approve.\n\n"
        "First time: add-site, add-operator, then serve.",
    )
    group.command("serve")(serve)
    group.command("add-site")(add_site_command)
    group.command("add-operator")(add_operator_command)
    app.add_typer(group)


def serve(
    db: DbOption,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT; port 0 takes a free one.")
    ] = "127.0.0.1:8420",
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its private key, PEM.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Gets the URL once connections are taken.")
    ] = None,
    clock: Annotated[
        str | None, typer.Option("--clock", help="Simulated time, as the simulator prints it.")
    ] = None,
    lake: Annotated[
        Path | None,
        typer.Option("--lake", help="Folder for telemetry that sites deliver; default: lake beside --db."),
    ] = None,
    lake_max_mib: Annotated[
        int, typer.Option("--lake-max-mib", min=16, help="Room of one site's telemetry.")
    ] = 20_480,
    sources: Annotated[
        Path | None,
        typer.Option("--sources", help="YAML of price sources to fetch and relay to sites without internet."),
    ] = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Example: hashmargin dashboard serve --db fleet.sqlite3
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if (tls_cert is None) != (tls_key is None):
        raise InputError("--tls-cert and --tls-key go together")
    place = Listen.parse(listen)
    tls = Tls(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    time = parse_clock(clock)
    if tls is None and not place.is_loopback:
        typer.echo(
            f"warning: {listen} is reachable from other machines without TLS; passwords and tokens can be "
            "read on the way. Give --tls-cert and --tls-key, or put a TLS proxy in front.",
            err=True,
        )
    database = open_database(db)
    try:
        relay = Relaying(sources, db.parent / "relayed", time) if sources is not None else None
        service = Service(database, time, place, tls, relay.folder if relay is not None else None)
        keeper = LakeKeeper(database, time, lake or db.parent / "lake", lake_max_mib)
        if not has_operators(database):
            typer.echo(f"nobody can sign in yet: hashmargin dashboard add-operator NAME --db {db}", err=True)
        typer.echo(f"dashboard: {service.url}  (Ctrl-C stops it)", err=True)
        with keeper.running(), relay.running() if relay is not None else contextlib.nullcontext():
            asyncio.run(service.serve_until_stopped(ready_file))
    finally:
        database.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def add_site_command(
    site: Annotated[str, typer.Argument(metavar="ID", help="The `site.id` of its site.yaml.")],
    db: DbOption,
    token_file: Annotated[
        Path, typer.Option("--token-file", help="New file for its token, mode 0600; copy it to the site.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace-token", help="The site is there; give it a new token.")
    ] = False,
) -> None:
    """Add a site and write the token its agent delivers with.

    Example: hashmargin dashboard add-site quarry --db fleet.sqlite3 --token-file quarry.token
    """
    if not _SITE_ID.match(site):
        raise InputError(f"site id {site!r}: letters, digits and . _ : -, at most 64")
    database = open_database(db)
    try:
        make = replace_token if replace else add_site
        make(database, SystemClock(), site, lambda token: write_secret(token_file, token))
    finally:
        database.close()
    typer.echo(f"site {site}: token written to {token_file}", err=True)


def add_operator_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the person signs in as.")],
    db: DbOption,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File of mode 0600; asked for without it.")
    ] = None,
) -> None:
    """Add a person who may sign in and decide, or give one a new password.

    Example: hashmargin dashboard add-operator maria --db fleet.sqlite3
    """
    if password_file is not None:
        password = read_secret(password_file, None)
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    database = open_database(db)
    try:
        add_operator(database, SystemClock(), name, password)
    finally:
        database.close()
    typer.echo(f"operator {name}: may sign in", err=True)
