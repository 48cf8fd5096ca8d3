"""`hashmargin lake`: check and show a lake of telemetry, and pack what waits in a journal."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from agent.cli.tables import console_for
from agent.clock import SystemClock
from agent.lake.check import Verdict, check_lake
from agent.lake.journal import Journal, journal_site
from agent.lake.keeper import pack_finished

Lake = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the lake.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
_SHOWN_GAPS = 10
_SHOWN_PROBLEMS = 50
PROBLEMS_FOUND = 3


def register(app: typer.Typer) -> None:
    """Add the group `lake`."""
    group = typer.Typer(
        name="lake",
        no_args_is_help=True,
        help="Check and show a lake of telemetry.\n\nExample: hashmargin lake check /var/lib/hashmargin/lake",
    )
    group.command("check")(check)
    group.command("show")(show)
    group.command("pack")(pack_journal)
    app.add_typer(group)


def check(
    lake: Lake,
    max_gap: Annotated[
        float | None,
        typer.Option(min=0.0, help="Hours; a longer gap in a miner's readings is a problem too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every file: schema, types, ranges, time zone, order, duplicates, gaps and folders.

    Exit code 0 without problems, 3 with some. Nothing is changed.

    Example: hashmargin lake check /var/lib/hashmargin/lake --max-gap 12
    """
    verdict = check_lake(lake, max_gap)
    if as_json:
        typer.echo(json.dumps(_document(verdict), indent=2))
    else:
        _print_verdict(verdict)
    if verdict.problems_total:
        raise typer.Exit(PROBLEMS_FOUND)


def show(lake: Lake, as_json: AsJson = False) -> None:
    """Show what a lake holds: span, sites, miners, rows, and which columns are known how often.

    Example: hashmargin lake show /var/lib/hashmargin/lake
    """
    verdict = check_lake(lake)
    document = _document(verdict)
    if as_json:
        document.pop("problems")
        typer.echo(json.dumps(document, indent=2))
        return
    console = console_for(sys.stdout.isatty())
    console.print(_head(verdict))
    for title, counts in (("site", verdict.sites), ("model", verdict.models)):
        table = Table(title, "rows", box=box.SIMPLE_HEAD)
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            table.add_row(name, f"{count}")
        console.print(table)
    table = Table("column", "known in", box=box.SIMPLE_HEAD)
    for name, share in verdict.unknown.items():
        table.add_row(name, f"{100.0 * (1.0 - share):.1f} % of rows")
    console.print(table)
    if verdict.problems_total:
        typer.echo(f"{verdict.problems_total} problems; see: hashmargin lake check {lake}", err=True)


def pack_journal(
    journal: Annotated[Path, typer.Argument(help="The agent's telemetry.sqlite3, or a copy of it.")],
    lake: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the lake; made if missing.")],
    everything: Annotated[
        bool, typer.Option("--everything", help="Also the day under way; more files of it will follow.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the finished days of a journal into a lake, for a site whose agent is without pyarrow.

    What is written leaves the journal. Interrupted at any moment, it goes on where it stopped. Exit code 3
    where a day has to wait or a moment was damaged.

    Example: hashmargin lake pack /var/lib/hashmargin/telemetry.sqlite3 /srv/lake
    """
    clock = SystemClock()
    source = Journal(journal, journal_site(journal), clock.now())
    done = pack_finished(source, lake, clock.now(), everything=everything)
    if as_json:
        files = [str(file) for file in done.files]
        typer.echo(json.dumps({"rows": done.rows, "files": files, "problems": done.problems}))
    else:
        typer.echo(f"{done.rows} rows in {len(done.files)} files under {lake}")
        for problem in done.problems:
            typer.echo(problem, err=True)
    if done.problems:
        raise typer.Exit(PROBLEMS_FOUND)


def _print_verdict(verdict: Verdict) -> None:
    console = console_for(sys.stdout.isatty())
    console.print(_head(verdict))
    if verdict.gaps:
        table = Table("miner with gaps", "gaps", "missing", "longest", "from", box=box.SIMPLE_HEAD)
        for gap in verdict.gaps[:_SHOWN_GAPS]:
            table.add_row(
                f"{gap.site}/{gap.miner}",
                f"{gap.count}",
                f"{100.0 * gap.missing_share:.2f} %",
                f"{gap.longest_h:.1f} h",
                f"{gap.longest_from:%Y-%m-%d %H:%M}",
            )
        console.print(table)
        if len(verdict.gaps) > _SHOWN_GAPS:
            console.print(f"and {len(verdict.gaps) - _SHOWN_GAPS} more miners with gaps")
    if not verdict.problems_total:
        console.print("no problems")
        return
    table = Table("file", "row", "column", "problem", "what to do", box=box.SIMPLE_HEAD)
    for problem in verdict.problems[:_SHOWN_PROBLEMS]:
        row = "" if problem.row is None else f"{problem.row}"
        table.add_row(problem.file, row, problem.column or "", problem.what, problem.remedy)
    console.print(table)
    console.print(f"{verdict.problems_total} problems")


def _head(verdict: Verdict) -> str:
    span = (
        f"{verdict.first:%Y-%m-%d %H:%M} to {verdict.last:%Y-%m-%d %H:%M} UTC"
        if verdict.first is not None and verdict.last is not None
        else "no time span"
    )
    versions = ", ".join(f"{name} ({count} files)" for name, count in sorted(verdict.versions.items()))
    return (
        f"{verdict.lake}: {verdict.rows} rows of {verdict.miners} miners at {len(verdict.sites)} sites, "
        f"{span}; {verdict.files} files, {verdict.bytes / 1e6:.1f} MB, schema {versions or 'none'}"
    )


def _document(verdict: Verdict) -> dict[str, Any]:
    document = asdict(verdict)
    for name in ("first", "last"):
        moment = document[name]
        document[name] = None if moment is None else moment.isoformat()
    for gap in document["gaps"]:
        gap["longest_from"] = gap["longest_from"].isoformat()
    return document
