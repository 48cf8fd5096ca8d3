"""`hashmargin train`: from telemetry to a model bundle, with progress and a table of how good it is."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent.cli.bundle_page import bundle_page, page_console
from agent.clock import SystemClock
from agent.errors import InputError
from agent.money.prices import read_market, read_prices
from trainer.blocks import plan_blocks
from trainer.engine import DaskEngine, Engine, LocalEngine, training_rows
from trainer.export import check_target
from trainer.families import FAMILIES
from trainer.learn import export, learn
from trainer.report_figures import REPORT
from trainer.report_publish import check_publish, publish
from trainer.tuning import Search, tune


def register(app: typer.Typer) -> None:
    """Add the command `train`."""
    app.command("train")(train)


def train(
    lake: Annotated[Path, typer.Option(help="Folder of date=YYYY-MM-DD/site=ID/part-0.parquet.")],
    market: Annotated[Path, typer.Option(help="CSV of hashprice by day.")],
    prices: Annotated[Path, typer.Option(help="CSV of electricity prices by time.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle; an older bundle there is replaced.")],
    seed: Annotated[int, typer.Option(help="The same seed on the same data gives the same bundle.")] = 1,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, UTC.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, UTC.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Zone to take from a price file that holds several.")
    ] = None,
    tune_trials: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Sets of hyper-parameters to try of each kind; 0 takes the shipped."
        ),
    ] = 0,
    tune_minutes: Annotated[
        float, typer.Option(min=0.1, max=10_000.0, help="Ends the search early; what was found is used.")
    ] = 10.0,
    tune_storage: Annotated[
        Path | None, typer.Option(help="SQLite file that keeps what was tried, so that a search can go on.")
    ] = None,
    engine: Annotated[
        Literal["local", "dask"], typer.Option(help="Where training rows are computed.")
    ] = "local",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of the Dask scheduler, such as tcp://10.0.0.5:8786.")
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(envvar="HASHMARGIN_REGISTRY", help="Folder of the registry to add the experiment to."),
    ] = None,
    compare_with: Annotated[
        Path | None,
        typer.Option(help="Bundle that the report compares with; else what is stable in the registry."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Learn power and profit models from telemetry and write them as a bundle.

    Families of models are compared by the decisions they lead to on later days and other miners; the
    intervals of the best are calibrated, and all of it is exported to ONNX and checked.

    Example: [bold]hashmargin train --lake lake --market market.csv --prices prices.csv --out bundle[/bold]
    """
    if first is not None and last is not None and first > last:
        raise InputError(f"--from {first:%Y-%m-%d} lies after --to {last:%Y-%m-%d}")
    check_target(out)
    worker = _engine(engine, scheduler)
    check_publish(registry, compare_with)
    with _progress() as bars:
        steps = _Steps(bars)
        series, tariff = read_market(market), read_prices(prices, zone)
        since, until = (day.date() if day is not None else None for day in (first, last))
        blocks = plan_blocks(lake, since, until)
        dataset = training_rows(
            worker, blocks, series, tariff, seed, lambda done: steps.at("computing features", done)
        )
        families = list(FAMILIES)
        if tune_trials:
            search = Search(tune_trials, 60.0 * tune_minutes, tune_storage)
            families += tune(
                dataset, search, seed, time.monotonic, lambda done: steps.at("searching parameters", done)
            )
        learned = learn(dataset, seed, steps.at, families)
        now = SystemClock().now()
        bundle = export(learned, dataset, out, seed, now, steps.at)
        steps.at("writing the report", 0.0)
        asked: dict[str, Any] = {"lake": str(lake), "market": str(market), "prices": str(prices)}
        asked |= {"zone": zone, "tune_trials": tune_trials, "tune_minutes": tune_minutes}
        verdict = publish(bundle, learned, dataset, lake, registry, compare_with, asked, now)
        steps.finish()
    manifest = bundle.manifest
    if as_json:
        document = _document(out, manifest.model_dump(mode="json")) | {"verdict": verdict}
        typer.echo(json.dumps(document, indent=2))
    else:
        page_console().print(bundle_page(manifest))
        typer.echo(f"{verdict['outcome']}: {verdict['sentence']} See {out / REPORT}")
        typer.echo(f"bundle {manifest.bundle_id} written to {out}")


def _engine(name: Literal["local", "dask"], scheduler: str | None) -> Engine:
    if name == "local":
        if scheduler is not None:
            raise InputError("--scheduler is for --engine dask")
        return LocalEngine()
    if scheduler is None:
        raise InputError("--engine dask needs --scheduler, the address of a running Dask scheduler")
    return DaskEngine(scheduler)


def _document(out: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without its golden vectors, which nobody reads, and where it is."""
    return {"path": str(out)} | {k: v for k, v in manifest.items() if k not in ("golden", "feature_names")}


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Steps:
    """One bar per step; a step that begins ends the one before."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def at(self, step: str, done: float) -> None:
        """`step` has come to the share `done`."""
        if step not in self._tasks:
            self.finish()
            self._tasks[step] = self._bars.add_task(step, total=1.0)
        self._bars.update(self._tasks[step], completed=done)

    def finish(self) -> None:
        """All steps so far are done."""
        for task in self._tasks.values():
            self._bars.update(task, completed=1.0)
