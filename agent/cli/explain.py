"""`hashmargin explain`: one recommendation in words, with what became of it."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.miner_names import lookup
from agent.cli.stored import site_and_store
from agent.config import SiteConfig
from agent.energy import KWH_PER_W_DAY
from agent.errors import InputError
from agent.records import Act, Recommendation
from agent.store import Store
from agent.wording import confidence, quantity, setting

_NEAR = 3
_LOOK_BACK = 5000


def register(app: typer.Typer) -> None:
    """Add the command `explain`."""
    app.command("explain")(explain)


def explain(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id from `recommendations list` or `ledger`; of a miner (id, MAC, address) the newest.",
        ),
    ],
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON document: the record, its acts and the words.")
    ] = False,
) -> None:
    """Say why a recommendation was made, what else was considered, and what happened.

    Example: [bold]hashmargin explain a01-20260101T120000 --config site.yaml[/bold]
    """
    with site_and_store(config) as (site, store):
        found = store.recommendation(identifier) or _newest_of(identifier, site, store)
        if found is None:
            raise InputError(_unknown(identifier, store))
        acts = [act for act in store.acts(limit=100_000) if act.recommendation_id == found.id]
    acts.sort(key=lambda act: act.intended_at)
    told = words(found, acts)
    if json_:
        document = {
            "recommendation": found.model_dump(mode="json"),
            "acts": [act.model_dump(mode="json") for act in acts],
            "words": told,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo("\n".join(told))


def words(one: Recommendation, acts: list[Act]) -> list[str]:
    """The explanation, line by line."""
    gain, why = one.gain_usd_per_day, one.why
    fallback = " (fallback: no trained model covers this unit)" if why.model_is_fallback else ""
    out = [
        f"{one.id} ({one.type.replace('_', ' ')}, {one.status})",
        _what(one),
        "",
        f"Why: {why.summary}.",
        f"Expected gain {gain.q50:+.2f} USD/day, 80 % interval {gain.q10:+.2f} to {gain.q90:+.2f}; "
        f"the probability that it is above 0 is {confidence(one.confidence)}.",
        *_expected(one),
        f"Judged over {why.prices_from:%Y-%m-%d %H:%M} to {why.prices_to:%Y-%m-%d %H:%M} UTC; "
        f"it stands until {one.expires_at:%Y-%m-%d %H:%M} UTC.",
        f"Model: {why.model}{fallback}; feature table {why.feature_hash[:16]}",
        "",
        "Inputs:",
        *(f"  {quantity(name)}: {_value(value)}" for name, value in why.inputs.items()),
        "Considered instead:",
        *(
            f"  {a.label or setting(a.setting)}: {a.profit_usd_per_day:+.2f} USD/day; {a.reason}"
            for a in why.alternatives
        ),
    ]
    if not why.alternatives:
        out.append("  nothing: there was no other choice")
    out += ["What binds:", *(f"  {limit}" for limit in why.binds or ["nothing"])]
    out += ["What would change it:", *(f"  {line}" for line in _turning_points(one))]
    out += ["Steps for a person:", *(f"  {i}. {step}" for i, step in enumerate(one.steps, 1))]
    return [*out, "What happened:", *(f"  {line}" for line in _afterwards(one, acts))]


def _newest_of(miner: str, site: SiteConfig, store: Store) -> Recommendation | None:
    """The newest recommendation of a miner; None where that is no miner, or has none."""
    newest: dict[str, Recommendation] = {}
    for one in store.recommendations(limit=_LOOK_BACK):
        newest.setdefault(one.miner_id, one)
    name = lookup(miner, site, store.latest_summary(), newest)
    return newest[name] if name is not None else None


def _unknown(identifier: str, store: Store) -> str:
    """The error for an id that is not there, with those that are like it."""
    known = {one.id: one.miner_id for one in store.recommendations(limit=_LOOK_BACK)}
    names = [*known, *dict.fromkeys(known.values())]
    near = difflib.get_close_matches(identifier, names, n=_NEAR, cutoff=0.6)
    near = near or [name for name in names if name.startswith(identifier)]
    like = f"; near it: {', '.join(near[:_NEAR])}" if near else ""
    return f"{identifier}: no such recommendation{like}; see: hashmargin recommendations list --all"


def _what(one: Recommendation) -> str:
    advice = one.advice
    unit = f"{one.miner_id} ({one.model or 'unknown model'})"
    if advice is None:
        return f"{unit}: from {setting(one.current)} to {setting(one.proposed)}"
    count = len(advice.miners)
    whom = f"{count} miners" if count > 1 else unit
    return f"{whom}: from {advice.now} to {advice.then}; no setting changes"


def _expected(one: Recommendation) -> list[str]:
    rate, power = one.expected.hashrate_ths, one.expected.power_w
    if one.advice is not None:
        return [f"Expected rate {rate.q50:.1f} TH/s at {power.q50:.0f} W."]
    return [
        f"Expected rate {rate.q50:.1f} TH/s, 80 % interval {rate.q10:.1f} to {rate.q90:.1f}.",
        f"Expected power {power.q50:.0f} W, 80 % interval {power.q10:.0f} to {power.q90:.0f}.",
    ]


def _turning_points(one: Recommendation) -> list[str]:
    """Where the choice turns, all else as it was; only about, for fee and cooling scale prices a little."""
    inputs, before, after = one.why.inputs, one.expected_current, one.expected
    gain = one.gain_usd_per_day
    best = max(one.why.alternatives, key=lambda other: other.profit_usd_per_day, default=None)
    lines = []
    if gain.q50 <= 0.0:
        # It is no price that asks for it.
        asks = "; ".join(one.why.binds) if one.type == "curtailment" else ""
        lines.append(f"more room under what binds: {asks}" if asks else "it is not made for what it earns")
    else:
        price, hashprice = inputs.get("price_usd_per_kwh"), inputs.get("hashprice_usd_per_ths_day")
        if before is not None and isinstance(price, float) and isinstance(hashprice, float):
            kwh = KWH_PER_W_DAY * (after.power_w.q50 - before.power_w.q50)
            rate = after.hashrate_ths.q50 - before.hashrate_ths.q50
            if abs(kwh) > 1e-6 and price + gain.q50 / kwh > 0.0:
                lines.append(_turns("electricity", price, price + gain.q50 / kwh, "USD/kWh"))
            if abs(rate) > 1e-6 and hashprice - gain.q50 / rate > 0.0:
                then = hashprice - gain.q50 / rate
                lines.append(_turns("hashprice", 1000.0 * hashprice, 1000.0 * then, "USD/PH/day"))
    if best is not None and before is not None:
        short, name = (
            after.profit_usd_per_day.q50 - best.profit_usd_per_day,
            best.label or setting(best.setting),
        )
        if short >= 0.0:
            lines.append(f"the next best, {name}, is {short:.2f} USD/day behind")
        else:
            lines.append(f"{name} would earn {-short:.2f} USD/day more if nothing stood in its way")
    if gain.q50 > 0.0:
        lines.append(f"a gain whose lower bound ({gain.q10:+.2f} USD/day) no longer pays for the change")
    return lines


def _turns(name: str, now: float, then: float, unit: str) -> str:
    way = "above" if then > now else "below"
    return f"{name} {way} {then:.4g} {unit} (was {now:.4g}): at about that the gain is gone"


def _afterwards(one: Recommendation, acts: list[Act]) -> list[str]:
    out = []
    if one.decided_by is not None and one.decided_at is not None:
        verdict = "rejected" if one.status == "rejected" else "approved"
        out.append(f"{verdict} by {one.decided_by}, {one.decided_at:%Y-%m-%d %H:%M} UTC")
    if one.outcome is not None:
        out.append(one.outcome)
    if one.advice is not None:
        out.append("nothing is ever sent to a miner for this; a person carries it out")
        return out
    for act in acts:
        out.append(f"act {act.id}: {setting(act.target)}, {act.status}; sent: {act.sent or 'nothing'}")
        if act.outcome is not None:
            out.append(f"  telemetry: {act.outcome}")
        expected = act.expected
        for name, interval, seen, unit in (
            ("rate", expected.hashrate_ths, act.observed_hashrate_ths, "TH/s"),
            ("power", expected.power_w, act.observed_power_w, "W"),
            ("profit", expected.profit_usd_per_day, act.observed_profit_usd_per_day, "USD/day"),
        ):
            if seen is not None:
                place = "below" if seen < interval.q10 else "above" if seen > interval.q90 else "inside"
                span = f"{interval.q10:.2f} to {interval.q90:.2f}"
                out.append(
                    f"  {name}: expected {interval.q50:.2f}, seen {seen:.2f} {unit}, "
                    f"{place} its interval of {span}"
                )
    return out or ["nothing yet" if one.status == "proposed" else f"nothing was done: {one.status}"]


def _value(value: float | str | None) -> str:
    return "unknown" if value is None else f"{value:.6g}" if isinstance(value, float) else value
