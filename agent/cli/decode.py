"""`hashmargin decode`: saved replies to the Reading they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.devices.families import FAMILIES, family
from agent.errors import InputError

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 200
# What a test case expects stands beside its replies.
NOT_REPLIES = ("reading.json", "error.json")


def register(app: typer.Typer) -> None:
    """Add the command `decode`."""
    app.command("decode")(decode)


def decode(
    family_: Annotated[str, typer.Argument(metavar="FAMILY", help=", ".join(FAMILIES))],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with one file per command.")],
    address: Annotated[str | None, typer.Option(help="Put into the Reading; replies do not hold it.")] = None,
) -> None:
    """Turn saved replies into the Reading as JSON. Whatever subset of replies is there is used.

    Files are named after the command: `stats.json`, `get_psu.json`, `get.miner.status.summary.json`.

    Example: [bold]hashmargin decode antminer-stock s19-report[/bold]
    """
    info = family(family_)
    reading = info.decode(replies_in(folder), address)
    typer.echo(json.dumps(reading.to_dict(), indent=2))


def replies_in(folder: Path) -> dict[str, bytes]:
    """The saved replies of a folder by file name.

    Raises:
        InputError: no such folder, nothing in it, or a file that cannot be read or is too large.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    files = [p for p in files if p.name not in NOT_REPLIES and p.suffix in (".json", ".txt", "")]
    if not files:
        raise InputError(f"{folder} holds no replies; expected files such as stats.json or summary.json")
    if len(files) > MAX_FILES:
        raise InputError(f"{folder} holds {len(files)} files; at most {MAX_FILES} are read")
    found = {}
    for path in files:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
            found[path.name] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return found
