"""The page of a backtest: one HTML file that asks for nothing from outside itself, drawn from the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from simulator.backtest import svg

_OURS = "hashmargin"
# Lines of profit over time, as far as they were run; the first is drawn thick.
_DRAWN = (
    _OURS,
    "oracle",
    "best-fixed-on-off",
    "on-off-unit",
    "on-off-fleet",
    "constant-jth",
    "always-nominal",
    "as-recorded",
)
_STYLE = Path(__file__).with_name("report.css")
_WORDS = {
    "always-nominal": "every unit at its default setting, always",
    "best-fixed": "each unit at its best single setting, in hindsight",
    "on-off-fleet": "everything off above the fleet's break-even price",
    "on-off-unit": "each unit off above its own break-even price, its true curve known",
    "best-fixed-on-off": "best single setting with perfect stops, in hindsight",
    "hourly-argmax": "best setting of the step, restarts ignored, true curves known",
    "hourly-argmax-learned": "best setting of the step, restarts ignored, with the curves of our planner",
    "two-mode": "lowest setting above one price, nominal below, that price in hindsight",
    "constant-jth": "our planner, believing the same J/TH at every setting",
    "hashmargin": "our planner with learned curves and known or forecast prices",
    "hashmargin-no-learning": "the same without per-unit learning",
    "as-recorded": "what was really set, by the record",
    "oracle": "all prices and true curves known, under the same costs and limits",
}


def write_report(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page of a result of `run_backtest`.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(render(result), encoding="utf-8")


def render(result: Mapping[str, Any]) -> str:
    """The page as text."""
    title = f"Backtest of {result['farm']}: {result['from'][:10]} to {result['to'][:10]}"
    parts = [
        _head(result),
        _stats(result),
        _panel(
            "Policies",
            _policies(result),
            "Restarts are per unit and year; hours outside a limit add up all units.",
        ),
        _panel("Profit over time", _over_time(result), "Cumulative. The thick line is the first named."),
        '<div class="two">',
        _panel(
            "Price against power",
            _scatter(result),
            f"Of {result['plots']['shown']}, steps spread evenly over the span.",
        ),
        _panel("Settings by month and hour", _map(result), "Mean share of rated power; the darker the more."),
        "</div>",
        _causes(result),
        _promises(result),
        _sweep(result),
        _curves(result),
        _panel("By month", _months(result), "USD."),
        _panel("How it was run", _facts(result), ""),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(result: Mapping[str, Any]) -> str:
    ours = result["policies"].get(_OURS)
    regret = None if ours is None else ours.get("regret")
    if ours is None or regret is None:
        sentence, tone = "No comparison of hashmargin with the best possible was asked for.", "warn"
        if ours is not None:
            sentence = f"hashmargin earned {_money(ours['profit_usd'])} USD."
    else:
        outside = sum(ours["outside_h"].values())
        tone = "good" if regret <= 0.05 and outside == 0.0 else "warn"
        sentence = (
            f"hashmargin earned {_money(ours['profit_usd'])} USD, {_percent(regret)} below the best, "
            f"with {ours['restarts_per_unit_year']:.0f} restarts per unit and year"
            + (
                f" and {outside:,.0f} unit hours outside a limit."
                if outside
                else " and no hour outside a limit."
            )
        )
    judged = ""
    if result["recorded"]:
        judged = (
            f'<p class="of">Nobody knows what a unit would have done elsewhere: all are judged by '
            f"{escape(result['curves'])}, as known at the end of the record; hashmargin plans with them.</p>"
        )
    where = f" at prices of {escape(str(result['zone']))}" if result["zone"] else ""
    return (
        f'<header class="verdict {tone}"><h1>Backtest of {escape(result["farm"])}</h1>'
        f"<p>{sentence}</p></header>"
        f'<p class="of">{result["units"]} units{where}, {result["from"][:10]} to {result["to"][:10]}, '
        f"steps of {result['step_s'] // 60} minutes, prices known: {escape(result['horizon'])}.</p>{judged}"
    )


def _stats(result: Mapping[str, Any]) -> str:
    ours = result["policies"].get(_OURS) or next(iter(result["policies"].values()))
    shown = [
        ("Profit", f"{_money(ours['profit_usd'])} USD", ""),
        ("Regret", _percent(ours.get("regret")), "of the best possible"),
        ("Over always-nominal", _money(ours.get("uplift_over_nominal_usd")), "USD"),
        ("Over on-off of the fleet", _percent(ours.get("uplift_over_on_off_fleet")), ""),
        ("Of the possible uplift", _percent(ours.get("oracle_uplift_captured"), 1), "captured"),
        ("Worst day", f"{_money(ours['worst_day']['profit_usd'])} USD", ours["worst_day"]["date"]),
    ]
    cells = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="note">{note}</dd></div>'
        for name, value, note in shown
    )
    return f'<dl class="stats">{cells}</dl>'


def _policies(result: Mapping[str, Any]) -> str:
    names = ("profit USD", "regret", "over on-off", "energy MWh", "BTC", "restarts", "worst day", "outside h")
    rows = []
    for name, one in result["policies"].items():
        outside = sum(one["outside_h"].values())
        cells = [
            _money(one["profit_usd"]),
            _percent(one.get("regret")),
            _percent(one.get("uplift_over_on_off_fleet")),
            f"{one['energy_kwh'] / 1000.0:,.0f}",
            "-" if one["coins_btc"] is None else f"{one['coins_btc']:,.3f}",
            f"{one['restarts_per_unit_year']:,.1f}",
            _money(one["worst_day"]["profit_usd"]),
            f'<span class="off">{outside:,.0f}</span>' if outside else "0",
        ]
        strong = ' class="ours"' if name == _OURS else ""
        words = f'<div class="note">{escape(_WORDS.get(name, ""))}</div>'
        rows.append(f"<tr{strong}><th scope=row>{escape(name)}{words}</th>{_cells(cells)}</tr>")
    return _table(("policy", *names), rows)


def _over_time(result: Mapping[str, Any]) -> str:
    plots = result["plots"]
    lines: Mapping[str, list[float]] = plots["cumulative_usd"]
    order = [name for name in _DRAWN if name in lines] or list(lines)[:6]
    key = "".join(
        f'<li><span class="swatch s{i % 8 + 1}"></span>{escape(name)}</li>' for i, name in enumerate(order)
    )
    whole = svg.over_time("Cumulative profit", plots["days"], {name: lines[name] for name in order})
    figures = f"<figure>{whole}<figcaption>profit, USD</figcaption></figure>"
    base = next((name for name in ("on-off-fleet", "always-nominal") if name in lines), None)
    if base is not None and len(order) > 1:
        above = {name: [a - b for a, b in zip(lines[name], lines[base], strict=True)] for name in order}
        shown = {name: line for name, line in above.items() if name not in (base, "always-nominal")}
        drawn = svg.over_time(f"Above {base}", plots["days"], shown, [order.index(name) for name in shown])
        figures += f"<figure>{drawn}<figcaption>above {base}, USD</figcaption></figure>"
    return f'<div class="two">{figures}</div><ul class="key">{key}</ul>'


def _scatter(result: Mapping[str, Any]) -> str:
    dots = result["plots"]["price_against_power"]
    return svg.scatter(
        "Price against power", dots["price_usd_per_mwh"], dots["power_kw"], "electricity, USD/MWh", "kW"
    )


def _map(result: Mapping[str, Any]) -> str:
    found = result["plots"]["setting_map"]
    return svg.heat_map("Settings by month and hour", found["months"], found["share"])


def _causes(result: Mapping[str, Any]) -> str:
    causes = result.get("causes")
    if not causes:
        return ""
    shares = {
        name: 100.0 * one["regret_share"] for name, one in causes.items() if one["regret_share"] is not None
    }
    if not shares:
        return ""
    words = (
        "What would be gained with each put right alone: prices of the next two days known, true curves "
        "known, moves without waiting to be sure. They overlap, and need not add up."
    )
    return _panel(
        "Regret by cause", svg.bars("Regret by cause", shares, "% of the best possible profit"), words
    )


def _promises(result: Mapping[str, Any]) -> str:
    kept = result["policies"].get(_OURS, {}).get("promises")
    if not kept:
        return ""
    rows = [
        f"<tr><th scope=row>{_percent(one['from'], 0)} to {_percent(one['to'], 0)}</th>"
        + _cells([f"{one['changes']:,}", _percent(one["confidence"], 1), _percent(one["positive"], 1)])
        + "</tr>"
        for one in kept["by_confidence"]
    ]
    words = (
        f"Of {kept['changes']:,} changes, {_percent(kept['inside_q10_q90'], 0)} brought what their q10 to "
        f"q90 said (80 % should), {_percent(kept['below_q10'], 0)} less (10 % should). Promised "
        f"{_money(kept['promised_usd_per_day'])}, came {_money(kept['came_usd_per_day'])} USD/day each, "
        "over staying, while the plan meant to keep them."
    )
    return _panel(
        "What was promised, and what came", _table(("confidence", "changes", "said", "gained"), rows), words
    )


def _sweep(result: Mapping[str, Any]) -> str:
    known = [
        (float(one["restarts_per_day"]), 100.0 * one["regret"])
        for one in result.get("wear_sweep") or ()
        if one["regret"] is not None
    ]
    if not known:
        return ""
    rows = [
        f"<tr><th scope=row>{one['restarts_per_day']}</th>"
        + _cells(
            [
                _money(one["oracle_usd"]),
                _money(one["hashmargin_usd"]),
                _percent(one["regret"]),
                f"{one['restarts_per_unit_year']:,.1f}",
            ]
        )
        + "</tr>"
        for one in result["wear_sweep"]
    ]
    drawn = svg.line("Regret by wear budget", known, "restarts allowed per unit and day", "regret, %")
    table = _table(("budget", "oracle USD", "hashmargin USD", "regret", "restarts/unit/year"), rows)
    return _panel("Regret by wear budget", drawn + table, "The best possible keeps to the same budget.")


def _curves(result: Mapping[str, Any]) -> str:
    drawn = []
    for one in result["plots"]["curves"]:
        true = list(zip(one["rate"], one["power"], strict=True))
        told = list(zip(one["believed_rate"], one["believed_power"], strict=True))
        if any(value != value or value is None for pair in (*true, *told) for value in pair):
            continue
        name = f"{one['model']} ({one['firmware']})"
        drawn.append(
            f"<figure>{svg.two_curves(name, true, told)}<figcaption>{escape(name)}, {escape(one['unit'])}"
            "</figcaption></figure>"
        )
    if not drawn:
        return ""
    words = "At the last step: true with dots, learned dashed."
    return _panel("Curves of single units", f'<div class="small">{"".join(drawn)}</div>', words)


def _months(result: Mapping[str, Any]) -> str:
    policies = result["policies"]
    names = [
        n for n in (_OURS, "on-off-unit", "best-fixed-on-off", "always-nominal", "oracle") if n in policies
    ]
    names = names or list(policies)
    months = list(next(iter(policies.values()))["months"])
    rows = [
        f"<tr><th scope=row>{month}</th>"
        + _cells(_money(policies[name]["months"][month]) for name in names)
        + "</tr>"
        for month in months
    ]
    return _table(("month", *names), rows)


def _facts(result: Mapping[str, Any]) -> str:
    rules = result["rules"]
    carried = ", ".join(f"{name} {count}" for name, count in result["carried"].items())
    models = ", ".join(f"{count} {name}" for name, count in result["models"].items())
    left_out = "; ".join(f"{count}: {why}" for why, count in result["left_out"].items()) or "none"
    curves = result["policies"].get(_OURS, {}).get("curves", "-")
    facts = {
        "units": models,
        "left out": left_out,
        "judged by": result["curves"],
        "curves of hashmargin": curves,
        "restart": f"{rules['restart_minutes']:g} minutes of hashing",
        "hold": f"{rules['hold_h']:g} h",
        "restarts a day": ", ".join(str(one) for one in rules["restarts_per_day"]),
        "least gain": f"{rules['minimum_gain_usd_per_day']:g} USD/day",
        "pool fee, PUE": f"{100 * rules['pool_fee_share']:g} %, {rules['pue']:g}",
        "steps carried": f"{carried}; nothing is changed while the price is missing",
        "seed": str(result["seed"]),
    }
    return (
        '<dl class="facts">'
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
        + "</dl>"
    )


def _panel(title: str, body: str, words: str) -> str:
    said = f"<p>{escape(words)}</p>" if words else ""
    return f'<section class="panel"><h2>{escape(title)}</h2>{said}{body}</section>'


def _table(names: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cells(values: Iterable[str]) -> str:
    return "".join(f"<td>{value}</td>" for value in values)


def _money(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:,.2f}"


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100.0 * value:.{digits}f} %"
