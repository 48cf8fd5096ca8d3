"""The command `hashmargin simulate history`."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agent.errors import InputError
from simulator.farm import load_farm
from simulator.history import HistoryPlan
from simulator.history_lake import write_history
from simulator.market import write_market, write_prices
from simulator.physics_file import ModelPhysics, default_physics, load_physics
from simulator.physics_spread import drawn
from simulator.weather import Ambient, Seasonal

# Without a farm the mix is that of the field: much of what is common, a little of everything.
_COMMON = (
    "antminer-s19-pro", "antminer-s19j-pro", "antminer-s21", "whatsminer-m30s-plus-plus", "whatsminer-m50",
    "whatsminer-m60s", "antminer-s19", "antminer-s19k-pro", "antminer-s19-xp", "antminer-s21-pro",
    "whatsminer-m30s-plus", "whatsminer-m50s", "whatsminer-m60", "whatsminer-m30s",
)  # fmt: skip
_COMMON_WEIGHT = 3


def history(
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days.")],
    miners: Annotated[int, typer.Option(min=1, max=100_000, help="How many miners.")],
    out: Annotated[Path, typer.Option(help="Folder of the lake; must hold no telemetry yet.")],
    farm: Annotated[
        Path | None, typer.Option(help="Take models, weather and physics from this farm.")
    ] = None,
    physics: Annotated[Path | None, typer.Option(help="Take the models of this physics file.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything drawn; default 1.")] = None,
    step: Annotated[int, typer.Option(min=10, max=3600, help="Seconds between readings.")] = 300,
    start: Annotated[
        str | None, typer.Option(help="First day, YYYY-MM-DD; default: so as to end today.")
    ] = None,
    site: Annotated[str, typer.Option(help="Site id in the lake.")] = "sim",
    metered: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the units without own watts that are metered.")
    ] = 0.5,
    bench: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of the units without a fine knob that run a sweep."),
    ] = 0.5,
    variants: Annotated[
        int | None,
        typer.Option(
            "--physics-variants",
            min=1,
            max=50,
            help="Sets of parameters per model; default 4, or 1 with --farm or --physics.",
        ),
    ] = None,
    physics_seed: Annotated[
        int | None,
        typer.Option("--physics-seed", min=0, help="Draw every set from this seed, none as shipped."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write months of telemetry as a Parquet lake, with market.csv and prices.csv beside it.

    Example: hashmargin simulate history --days 30 --miners 40 --out /tmp/lake
    """
    if farm is not None and physics is not None:
        raise InputError("give --farm or --physics, not both")
    began = time.monotonic()
    first = _first_day(start, days)
    models, ambient, seed = _models(farm, physics, miners, seed)
    if variants is None:
        variants = 4 if farm is None and physics is None else 1
    models = _varied(models, variants, seed, physics_seed)
    plan = HistoryPlan(models, ambient, first, days, step, seed, site, metered, bench)
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(f"{days} days of {miners} miners", total=1.0)
        rows = write_history(plan, out, lambda done: bar.update(task, completed=done))
    write_market(out / "market.csv", midnight, days, seed)
    write_prices(out / "prices.csv", midnight, days, seed)
    seconds = time.monotonic() - began
    if as_json:
        result = {
            "out": str(out),
            "rows": rows,
            "days": days,
            "miners": miners,
            "first": first.isoformat(),
            "models": _counts(models),
            "variants": variants,
            "seconds": round(seconds, 3),
        }
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"{rows} rows, {days} days of {miners} miners, in {seconds:.1f} s: {out}")


def _first_day(start: str | None, days: int) -> date:
    if start is None:
        return date.fromordinal(datetime.now(UTC).date().toordinal() - days)
    try:
        return date.fromisoformat(start)
    except ValueError as error:
        raise InputError(f"--start {start!r} is not a date, expected YYYY-MM-DD") from error


def _models(
    farm: Path | None, physics: Path | None, miners: int, seed: int | None
) -> tuple[tuple[tuple[ModelPhysics, int], ...], Ambient, int]:
    """Models with their counts, the weather, and the seed."""
    if farm is not None:
        spec = load_farm(farm, seed)
        offset, ambient = spec.file.site_offset_c, spec.ambient
        known = {miner.physics.key: miner.physics for miner in spec.miners}
        weights = dict(Counter(miner.physics.key for miner in spec.miners))
        return _shared(known, weights, miners), lambda at_s: ambient(at_s) + offset, spec.file.seed
    chosen = default_physics() if physics is None else load_physics(physics)
    weights = dict.fromkeys(chosen.models, 1)
    if physics is None:
        weights |= dict.fromkeys(_COMMON, _COMMON_WEIGHT)
        order = [*_COMMON, *(key for key in chosen.models if key not in _COMMON)]
        weights = {key: weights[key] for key in order}
    seed = 1 if seed is None else seed
    return _shared(chosen.models, weights, miners), Seasonal(seed), seed


def _varied(
    models: tuple[tuple[ModelPhysics, int], ...], variants: int, seed: int, physics_seed: int | None
) -> tuple[tuple[ModelPhysics, int], ...]:
    """Each model's units dealt out over sets of its parameters; the shipped one is first without a seed."""
    first, source = (0, seed) if physics_seed is None else (1, physics_seed)
    out = []
    for model, count in models:
        for i in range(variants):
            share = count // variants + (i < count % variants)
            if share:
                out.append((drawn(model, source, first + i), share))
    return tuple(out)


def _counts(models: tuple[tuple[ModelPhysics, int], ...]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for model, count in models:
        counts[model.key] += count
    return dict(counts)


def _shared(
    models: dict[str, ModelPhysics], weights: dict[str, int], miners: int
) -> tuple[tuple[ModelPhysics, int], ...]:
    """Deal `miners` out by weight; of two with equal claims the first in order gets the odd one."""
    total = sum(weights.values())
    exact = {key: miners * weight / total for key, weight in weights.items()}
    counts = {key: int(value) for key, value in exact.items()}
    left = miners - sum(counts.values())
    for key in sorted(exact, key=lambda key: counts[key] - exact[key])[:left]:
        counts[key] += 1
    return tuple((models[key], count) for key, count in counts.items() if count)
