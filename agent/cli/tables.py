"""How summaries, recommendations and acts look in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.records import Act, Alert, Interval, MinerLine, Recommendation, SettingRecord, Summary
from agent.wording import confidence

_WIDE = 170
_ALERTS = 8
_MAC = re.compile(r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")


def console_for(stream_is_terminal: bool) -> Console:
    """A console as wide as the terminal, or wide enough for every column where there is none."""
    return Console() if stream_is_terminal else Console(width=_WIDE)


def fleet_table(summary: Summary, alerts: Sequence[Alert] = ()) -> RenderableType:
    """The live table of miners under the site's totals."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=True)
    table.add_column("miner", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for name in ("TH/s", "W", "J/TH", "USD/day"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("now", justify="right", no_wrap=True)
    table.add_column("recommended", no_wrap=True)
    table.add_column("gain USD/day (80 %)", justify="right", no_wrap=True)
    table.add_column("why", ratio=1, overflow="ellipsis", no_wrap=True)
    for line in summary.miners:
        table.add_row(*_cells(line))
    parts: list[RenderableType] = [_head(summary), table]
    if any(line.power_is_estimate for line in summary.miners):
        parts.append(Text("~ estimated by the power model: this firmware reports no watts", style="dim"))
    colour = {"critical": "red", "warning": "yellow", "info": "cyan"}
    parts += [
        Text(f"{a.severity}: {a.text}", style=colour[a.severity], overflow="ellipsis")
        for a in alerts[:_ALERTS]
    ]
    if len(alerts) > _ALERTS:
        parts.append(Text(f"and {len(alerts) - _ALERTS} more alerts, in the agent's log", style="dim"))
    return Group(*parts)


def short(setting: SettingRecord | None) -> str:
    """A setting in a word or two: `3500 W`, `70 % power`, `low`, `stop`."""
    if setting is None:
        return "?"
    if not isinstance(setting.value, int | float):
        return setting.value or "stop"
    units = {
        "power_limit_w": "W",
        "power_percent": "% power",
        "hashrate_percent": "% rate",
        "frequency_percent": "% freq",
        "voltage_percent": "% volt",
    }
    return f"{setting.value:,.0f} {units.get(setting.knob, setting.knob)}"


def _head(summary: Summary) -> Text:
    out = Text()
    out.append(f"{summary.site_name or summary.site_id}", style="bold")
    out.append(f"  {summary.at:%Y-%m-%d %H:%M:%S} UTC  mode {summary.mode}  ")
    price, hashprice = summary.price_usd_per_kwh, summary.hashprice_usd_per_ths_day
    out.append(f"{price:.3f} USD/kWh  " if price is not None else "electricity price unknown  ")
    out.append(f"{1000 * hashprice:.1f} USD/PH/day\n" if hashprice is not None else "hashprice unknown\n")
    out.append(
        f"{summary.miners_reachable}/{summary.miners_total} miners  {summary.hashrate_ths:,.0f} TH/s  "
        f"{summary.power_w / 1000:,.1f} kW"
    )
    if summary.power_estimated_share > 0:
        out.append(f" ({100 * summary.power_estimated_share:.0f} % estimated)")
    out.append(f"  profit {_money(summary.profit_usd_per_day)}", style="bold")
    out.append(f"  always-nominal {_money(summary.profit_nominal_usd_per_day)} USD/day")
    now, then = summary.profit_usd_per_day, summary.profit_recommended_usd_per_day
    if now is not None and then is not None and then > now:
        out.append(f"  what is recommended adds {then - now:,.2f}", style="green")
    out.append("\n")
    style = "yellow" if summary.model_is_fallback else "dim"
    out.append(f"models: {summary.model}", style=style)
    return out


def _cells(line: MinerLine) -> list[Text]:
    if not line.reachable:
        last = f", last seen {line.last_seen:%H:%M:%S}" if line.last_seen is not None else ""
        reason = Text(f"{line.unreachable_reason}{last}", style="red", overflow="ellipsis")
        blank = [Text("")] * 4
        return [
            Text(line.miner_id, style="red"),
            Text(line.model or "?"),
            *blank,
            Text("?"),
            Text(""),
            Text(""),
            reason,
        ]
    power = f"{'~' if line.power_is_estimate else ''}{line.power_w:,.0f}" if line.power_w is not None else "?"
    gain = line.gain_usd_per_day
    return [
        Text(_brief(line.miner_id)),
        Text(_model(line)),
        Text(_number(line.hashrate_ths, 1)),
        Text(power),
        Text(_number(line.efficiency_j_th, 1)),
        Text(_money(line.profit_usd_per_day), style=_sign(line.profit_usd_per_day)),
        Text(short(line.current)),
        Text(f"> {short(line.proposed)}" if line.proposed is not None else "", style="bold"),
        Text(
            _interval(gain) if gain is not None else "", style=_sign(gain.q50 if gain is not None else None)
        ),
        Text(line.why or "stays: nothing pays better for sure", style="" if line.proposed else "dim"),
    ]


def _brief(miner_id: str) -> str:
    """The site's own name, or the last half of a MAC: enough to tell units of one vendor apart."""
    return f"..{miner_id[-8:]}" if _MAC.match(miner_id) else miner_id


def _model(line: MinerLine) -> str:
    name = (line.model or "?").removeprefix("antminer-").removeprefix("whatsminer-")
    return name.replace("-plus", "+").replace("-", " ").replace(" +", "+")


def recommendations_table(found: Sequence[Recommendation], now: datetime) -> Table:
    """Recommendations, one a row."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, header_style="bold")
    for name in ("id", "status", "miner", "from", "to"):
        table.add_column(name, no_wrap=name != "id", overflow="fold")
    table.add_column("gain USD/day (80 %)", justify="right", no_wrap=True)
    table.add_column("sure", justify="right")
    table.add_column("expires", justify="right")
    for one in found:
        count = len(one.advice.miners) if one.advice is not None else 1
        several = count if count > 1 else None
        left_s = (one.expires_at - now).total_seconds()
        table.add_row(
            Text(one.id),
            one.status,
            Text(_brief(one.miner_id) if several is None else f"{several} miners"),
            short(one.current) if one.advice is None else one.advice.now,
            short(one.proposed) if one.advice is None else one.advice.then,
            _interval(one.gain_usd_per_day),
            confidence(one.confidence),
            _left(left_s) if one.status == "proposed" and left_s > 0 else "",
        )
    return table


def _left(seconds: float) -> str:
    return f"{seconds / 60.0:.0f} min" if seconds < 2.5 * 3600.0 else f"{seconds / 3600.0:.0f} h"


def acts_table(acts: Sequence[Act]) -> Table:
    """The ledger: expected against realised."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=True)
    for name in ("when", "miner", "from", "to", "by", "status"):
        table.add_column(name, no_wrap=True)
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("realised", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="ellipsis", ratio=1, no_wrap=True)
    for act in acts:
        watts = f"{_number(act.observed_power_w, 0)} W" if act.observed_power_w is not None else "no watts"
        table.add_row(
            f"{act.intended_at:%m-%d %H:%M}",
            Text(_brief(act.miner_id)),
            short(act.before),
            short(act.target),
            Text(act.approved_by or "?"),
            act.status,
            f"{act.expected.hashrate_ths.q50:.1f} TH/s {act.expected.power_w.q50:,.0f} W",
            f"{_number(act.observed_hashrate_ths, 1)} TH/s {watts}",
            Text(act.outcome or ""),
        )
    return table


def _interval(value: Interval) -> str:
    return f"{value.q50:+.2f} ({value.q10:+.2f} {value.q90:+.2f})"


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:,.{digits}f}"


def _money(value: float | None) -> str:
    return "?" if value is None else f"{value:,.2f}"


def _sign(value: float | None) -> str:
    if value is None:
        return "dim"
    return "green" if value >= 0 else "red"
