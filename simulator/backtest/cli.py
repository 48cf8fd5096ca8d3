"""The command `hashmargin backtest`."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agent.errors import InputError
from simulator.backtest.market import STEPS_S, Horizon, MarketPlan
from simulator.backtest.report import write_report
from simulator.backtest.run import run_backtest
from simulator.backtest.setup import CAUSES, POLICIES, Setup
from simulator.weather import constant

_HORIZONS: dict[str, Horizon] = {"day-ahead": "day-ahead", "none": "none"}
# A spike that nobody saw coming is run through by a unit that is held.
_HOLD_H = {"day-ahead": 2.0, "none": 1.0}


def register(app: typer.Typer) -> None:
    """Add the command `backtest`."""
    app.command("backtest")(backtest)


def backtest(
    prices: Annotated[
        Path, typer.Option(help="CSV with time_utc and price_usd_per_mwh or price_usd_per_kwh, maybe zone.")
    ],
    market: Annotated[
        Path, typer.Option(help="CSV with date_utc and hashprice_usd_per_th_day or what it is made of.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for result.json and report.html.")],
    farm: Annotated[
        Path | None, typer.Option(help="The farm, as for `simulate`; see docs/simulator.md.")
    ] = None,
    lake: Annotated[
        Path | None,
        typer.Option(help="Instead of a farm: a site's own telemetry, what it would have earned."),
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Which zone of the price file.")] = None,
    weather: Annotated[
        Path | None, typer.Option(help="CSV with time_utc and temp_c, maybe zone; default: the farm's own.")
    ] = None,
    weather_zone: Annotated[
        str | None, typer.Option(help="Which zone of the weather file, if not --zone.")
    ] = None,
    physics: Annotated[Path | None, typer.Option(help="Physics file instead of the farm's.")] = None,
    models: Annotated[
        Path | None, typer.Option(help="A model bundle; default: the hardware profiles' curves.")
    ] = None,
    policies: Annotated[
        str | None, typer.Option(help=f"Comma-separated, default all: {', '.join(POLICIES)}.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Day to stop before, YYYY-MM-DD.")] = None,
    step: Annotated[str, typer.Option(help=f"Length of a step: {', '.join(STEPS_S)}.")] = "1h",
    horizon: Annotated[
        str,
        typer.Option(help="How far prices are known: day-ahead (from noon, to the end of tomorrow) or none."),
    ] = "day-ahead",
    timezone: Annotated[
        str, typer.Option(help="Whose noon and days those are, for example Europe/Berlin.")
    ] = "UTC",
    seed: Annotated[int | None, typer.Option(min=0, help="Of the farm, instead of its file's.")] = None,
    restart_minutes: Annotated[
        float, typer.Option(min=0.0, max=240.0, help="Hashing lost by one restart.")
    ] = 10.0,
    hold_h: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=168.0,
            help="Hours that a setting is kept once entered; default 2, with --horizon none 1.",
        ),
    ] = None,
    restarts_per_day: Annotated[
        int | None, typer.Option(min=0, max=24, help="Wear budget, instead of each hardware profile's.")
    ] = None,
    minimum_gain: Annotated[
        float, typer.Option(min=0.0, help="USD/day that the lower bound of a gain must exceed.")
    ] = 0.05,
    pool_fee: Annotated[float, typer.Option(min=0.0, max=0.5, help="Share that the pool keeps.")] = 0.02,
    pue: Annotated[float, typer.Option(min=1.0, max=3.0, help="Power of the site over its miners'.")] = 1.0,
    decide_minutes: Annotated[
        float, typer.Option(min=1.0, max=1440.0, help="From one decision of a planning policy to the next.")
    ] = 15.0,
    metered: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the units that hang on a meter.")
    ] = 0.5,
    causes: Annotated[
        bool, typer.Option(help="Find out what our regret is due to, by three more runs.")
    ] = True,
    wear_sweep: Annotated[
        str | None, typer.Option(help="Wear budgets to compare, for example 0,1,2,4,8.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Run at most so many policies at a time; default one per core."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """What each way of running a farm would have earned on recorded prices, against the best possible.

    Example: hashmargin backtest --farm configs/farm.example.yaml --prices prices.csv --market market.csv
    --from 2022-01-01 --to 2022-02-01 --out /tmp/backtest

    See docs/backtest.md for how to read what comes out.
    """
    if step not in STEPS_S:
        raise InputError(f"--step {step!r}: choose one of {', '.join(STEPS_S)}")
    if horizon not in _HORIZONS:
        raise InputError(f"--horizon {horizon!r}: choose one of {', '.join(_HORIZONS)}")
    plan = MarketPlan(
        prices=prices,
        market=market,
        weather=weather if weather is not None else constant(15.0),
        zone=zone,
        weather_zone=weather_zone,
        first=_day("--from", first),
        last=_day("--to", last),
        step_s=STEPS_S[step],
        horizon=_HORIZONS[horizon],
        timezone=timezone,
        pool_fee_share=pool_fee,
        pue=pue,
    )
    setup = Setup(
        farm=farm,
        lake=lake,
        market=plan,
        physics=physics,
        models=models,
        policies=None if policies is None else _names(policies),
        seed=seed,
        restart_minutes=restart_minutes,
        hold_h=_HOLD_H[horizon] if hold_h is None else hold_h,
        restarts_per_day=restarts_per_day,
        minimum_gain_usd_per_day=minimum_gain,
        decide_minutes=decide_minutes,
        metered=metered,
        causes=CAUSES if causes else (),
        wear_sweep=_budgets(wear_sweep),
        processes=processes,
    )
    result = _with_bar(setup)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
        write_report(out / "report.html", result)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from error
    if as_json:
        typer.echo(json.dumps({key: value for key, value in result.items() if key != "plots"}))
        return
    _show(result)
    typer.echo(f"{out / 'report.html'} and result.json, in {result['seconds']:.0f} s")


def _with_bar(setup: Setup) -> dict[str, Any]:
    with Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("backtest", total=1.0)
        return run_backtest(setup, lambda what, share: bar.update(task, description=what, completed=share))


def _show(result: dict[str, Any]) -> None:
    title = f"{result['units']} units, {result['from'][:10]} to {result['to'][:10]}"
    # All of it in 80 columns: names of policies are typed again after --policies, and figures are never cut.
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("policy", no_wrap=True)
    for name in ("profit\nUSD", "regret", "over\non-off", "MWh", "restarts\n/unit/y", "hours\noutside"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in result["policies"].items():
        table.add_row(
            name,
            f"{one['profit_usd']:,.0f}",
            _percent(one.get("regret")),
            _percent(one.get("uplift_over_on_off_fleet")),
            f"{one['energy_kwh'] / 1000.0:,.0f}",
            f"{one['restarts_per_unit_year']:.1f}",
            f"{sum(one['outside_h'].values()):,.0f}",
        )
    Console().print(table)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.2f} %"


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _budgets(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        budgets = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--wear-sweep {text!r}: expected whole numbers such as 0,1,2,4,8") from error
    if not all(0 <= budget <= 24 for budget in budgets):
        raise InputError(f"--wear-sweep {text!r}: expected budgets from 0 to 24")
    return budgets


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not a date, expected YYYY-MM-DD") from error
