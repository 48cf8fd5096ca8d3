"""`hashmargin plan`: what the fleet will do and earn over the coming hours, and what if."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.miner_names import find_miner
from agent.cli.stored import site_and_store
from agent.cli.tables import console_for, short
from agent.errors import StoreError
from agent.planner.decide import decide
from agent.planner.plan import Plan
from agent.planner.preview import Course, course, what_if
from agent.planner.snapshot import ROUND_STATE, Snapshot, unpack
from agent.records import SettingRecord

_BAR = 14
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_PLOT_WIDTH, _PLOT_ROWS = 96, 5
_COLUMNS = " ▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    """Add the command `plan`."""
    app.command("plan")(plan)


def plan(
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    what_if_: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="CHANGE",
            help="Plan as if something were otherwise: price=0.09 (USD/kWh), price*1.2, hashprice-5 "
            "(USD/PH/day), cap=400 (kW), hold=4 (h), gain=0.1, restarts=1. May be given several times.",
        ),
    ] = None,
    miner: Annotated[
        str | None, typer.Option(help="Show the settings planned for one miner: its id, MAC or address.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the plan of the last decision: power, hashing and money of every step, as a plot and a table.

    Nothing is asked of a miner and nothing is changed; the agent plans anew at every decision.

    Example: [bold]hashmargin plan --config site.yaml --what-if price=0.09[/bold]
    """
    with site_and_store(config) as (site, store):
        stored, summary = store.state(ROUND_STATE), store.latest_summary() if miner is not None else None
    if stored is None:
        raise StoreError("no decision has been made yet; is the agent running?")
    before = unpack(stored)
    base = decide(before.fleet, before.horizon, before.limits)
    snapshot = what_if(before, what_if_ or [])
    found = decide(snapshot.fleet, snapshot.horizon, snapshot.limits) if what_if_ else base
    if not len(snapshot.horizon.known()):
        raise StoreError(f"prices are not known at {before.at:%Y-%m-%d %H:%M} UTC ({before.sources[0]})")
    row = None
    if miner is not None:
        row = snapshot.miner_ids.index(find_miner(miner, site, summary, snapshot.miner_ids))
    then, now = course(snapshot.fleet, snapshot.horizon, found), course(before.fleet, before.horizon, base)
    if json_:
        typer.echo(json.dumps(_document(snapshot, found, then, row), indent=2))
        return
    parts: list[RenderableType] = [_head(snapshot, found, then, now if what_if_ else None, what_if_ or [])]
    if row is not None:
        parts.append(_miner_table(snapshot, found, row))
    else:
        parts += [_plot(snapshot, then), _steps_table(snapshot, then)]
    console_for(sys.stdout.isatty()).print(Group(*parts))


def _head(snapshot: Snapshot, found: Plan, then: Course, before: Course | None, changes: list[str]) -> Text:
    horizon = snapshot.horizon.known()
    hours = len(horizon) * horizon.step_h
    out = Text()
    out.append(f"plan of {snapshot.at:%Y-%m-%d %H:%M} UTC", style="bold")
    out.append(f" for {hours:g} h, {then.planned} of {len(snapshot.miner_ids)} miners; {snapshot.model}\n")
    out.append(f"electricity: {snapshot.sources[0]}; hashprice: {snapshot.sources[1]}\n", style="dim")
    profit = float(then.profit_usd.sum())
    out.append(f"{profit:,.2f} USD", style="bold")
    energy_kwh = float(then.power_w.sum()) * 0.001 * horizon.step_h
    out.append(f" for {energy_kwh:,.0f} kWh and {int(then.changes.sum())} changes")
    if before is not None:
        own = float(before.profit_usd.sum())
        out.append(f"; if {', '.join(changes)}. As things are: {own:,.2f} USD", style="yellow")
    if not found.feasible:
        out.append(
            f"\nthe cap cannot be met: the least possible draw is {found.upper_power_w / 1000.0:,.1f} kW",
            style="red",
        )
    out.append(_kept_to(snapshot, found))
    for reason, count in sorted(found.left_out.items(), key=lambda pair: -pair[1]):
        out.append(f"\n{count} left as they are: {reason}", style="dim")
    return out


def _kept_to(snapshot: Snapshot, found: Plan) -> Text:
    """Which limit cannot be kept in a later step, and what the month's peak costs and holds back."""
    out, site = Text(), snapshot.limits.site
    late = [(at, place) for at, place in zip(_times(snapshot), found.unmet, strict=True) if place is not None]
    if late and found.feasible:
        at, place = late[0]
        out.append(
            f"\nfrom {at:%a %H:%M} the cap of {place} cannot be kept in {len(late)} steps", style="red"
        )
    if snapshot.charge is not None:
        out.append(f"\n{snapshot.charge.words}", style="dim")
    if site is not None and np.isfinite(site.peak_w):
        out.append(
            f"\nkept below {site.peak_w / 1000.0:,.1f} kW for the charge on the month's peak", style="dim"
        )
    return out


def _plot(snapshot: Snapshot, then: Course) -> RenderableType:
    """Price and power of every step as columns above one axis of time."""
    horizon = snapshot.horizon.known()
    price = horizon.price_usd_per_kwh
    width = max(1, _PLOT_WIDTH // len(price))
    out = Text()
    for name, values, low, unit, style in (
        ("price with cooling", price, min(float(price.min()), 0.0), "USD/kWh", "magenta"),
        ("power of the miners", then.power_w / 1000.0, 0.0, "kW", "cyan"),
    ):
        high = max(float(values.max()), 0.0, low + 1e-9)
        labels = {_PLOT_ROWS - 1: f"{high:,.4g}", 0: f"{low:,.4g}"}
        for level in range(_PLOT_ROWS - 1, -1, -1):
            out.append(f"{labels.get(level, ''):>9} ┤" if level in labels else f"{'':>9} │", style="dim")
            shares = (values - low) / (high - low) * _PLOT_ROWS - level
            blocks = (_COLUMNS[round(8 * min(max(float(share), 0.0), 1.0))] for share in shares)
            out.append("".join(block * width for block in blocks), style=style)
            out.append(f" {name}, {unit}\n" if level == _PLOT_ROWS - 1 else "\n")
    axis, every = "", max(1, round(6.0 / horizon.step_h))
    for step, at in enumerate(_times(snapshot)):
        if step % every == 0:
            axis = axis.ljust(step * width) + f"{at:%a %H:%M}"
    out.append(f"{'':>9}  {axis} UTC\n" if len(axis) < _PLOT_WIDTH + 20 else "\n", style="dim")
    return out


def _steps_table(snapshot: Snapshot, then: Course) -> Table:
    horizon = snapshot.horizon.known()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("UTC", no_wrap=True)
    table.add_column("USD/kWh", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("kW", justify="right")
    table.add_column("", no_wrap=True)
    for name in ("PH/s", "USD", "full", "reduced", "stopped", "changes"):
        table.add_column(name, justify="right")
    price, power = horizon.price_usd_per_kwh, then.power_w
    top_price, top_power = max(float(price.max()), 1e-9), max(float(power.max()), 1e-9)
    for step, at in enumerate(_times(snapshot)):
        table.add_row(
            f"{at:%a %H:%M}",
            f"{price[step]:.4f}",
            Text(_bar(price[step] / top_price), style="magenta"),
            f"{power[step] / 1000.0:,.1f}",
            Text(_bar(power[step] / top_power), style="cyan"),
            f"{then.hashrate_ths[step] / 1000.0:,.2f}",
            f"{then.profit_usd[step]:,.2f}",
            str(then.full[step]),
            str(then.reduced[step]),
            str(then.stopped[step]),
            str(then.changes[step] or ""),
        )
    return table


def _miner_table(snapshot: Snapshot, found: Plan, row: int) -> RenderableType:
    name, reason = snapshot.miner_ids[row], snapshot.fleet.held_back[row]
    if reason is None and snapshot.holds:
        reason = snapshot.holds[row]
    if (found.path[row] < 0).any():
        return Text(f"{name}: no plan ({reason or 'present setting unknown'})")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title=name)
    for title in ("from UTC", "setting", "hours"):
        table.add_column(title, no_wrap=True)
    settings, times = snapshot.fleet.candidates.settings[row], _times(snapshot)
    starts = np.flatnonzero(np.diff(found.path[row], prepend=-1) != 0)
    for start, end in zip(starts, [*starts[1:], len(times)], strict=True):
        setting = settings[int(found.path[row, start])]
        hours = (end - start) * snapshot.horizon.step_h
        table.add_row(f"{times[start]:%a %H:%M}", short(SettingRecord.of(setting)), f"{hours:g}")
    return table if reason is None else Group(Text(f"{name} is not moved now: {reason}"), table)


def _document(snapshot: Snapshot, found: Plan, then: Course, row: int | None) -> dict[str, Any]:
    horizon = snapshot.horizon.known()
    steps = [
        {
            "at": at.isoformat(),
            "price_usd_per_kwh": float(horizon.price_usd_per_kwh[i]),
            "hashprice_usd_per_ths_day": float(horizon.hashprice_usd_per_ths_day[i]),
            "power_w": float(then.power_w[i]),
            "upper_power_w": float(then.upper_power_w[i]),
            "hashrate_ths": float(then.hashrate_ths[i]),
            "revenue_usd": float(then.revenue_usd[i]),
            "energy_usd": float(then.energy_usd[i]),
            "profit_usd": float(then.profit_usd[i]),
            "full": int(then.full[i]),
            "reduced": int(then.reduced[i]),
            "stopped": int(then.stopped[i]),
            "changes": int(then.changes[i]),
        }
        for i, at in enumerate(_times(snapshot))
    ]
    document: dict[str, Any] = {
        "at": snapshot.at.isoformat(),
        "step_h": horizon.step_h,
        "miners": len(snapshot.miner_ids),
        "planned": then.planned,
        "profit_usd": float(then.profit_usd.sum()),
        "feasible": found.feasible,
        "unmet": list(found.unmet),
        "peak_w": site.peak_w if (site := snapshot.limits.site) and np.isfinite(site.peak_w) else None,
        "demand_charge": _charge(snapshot),
        "left_out": found.left_out,
        "model": snapshot.model,
        "steps": steps,
    }
    if row is not None and (found.path[row] >= 0).all():
        settings = snapshot.fleet.candidates.settings[row]
        document["miner"] = {
            "miner_id": snapshot.miner_ids[row],
            "settings": [settings[int(k)].to_dict() for k in found.path[row]],
        }
    return document


def _charge(snapshot: Snapshot) -> dict[str, Any] | None:
    charge = snapshot.charge
    if charge is None:
        return None
    return {
        "peak_w": charge.peak_w,
        "reached_at": charge.reached_at.isoformat() if charge.reached_at is not None else None,
        "usd_per_kw_month": 1000.0 * charge.usd_per_w,
        "usd_so_far": charge.peak_w * charge.usd_per_w,
    }


def _times(snapshot: Snapshot) -> list[datetime]:
    horizon = snapshot.horizon.known()
    return [snapshot.at + timedelta(hours=horizon.step_h * i) for i in range(len(horizon))]


def _bar(share: float) -> str:
    eighths = round(8 * _BAR * min(max(float(share), 0.0), 1.0))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
