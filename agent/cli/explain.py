"""`hashmargin explain`: one recommendation in words, with what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.stored import site_store
from agent.errors import InputError
from agent.records import Act, Recommendation


def register(app: typer.Typer) -> None:
    """Add the command `explain`."""
    app.command("explain")(explain)


def explain(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="Id from `recommendations list` or `ledger`.")
    ],
    config: Annotated[Path, typer.Option(help="The site file.", envvar="HASHMARGIN_CONFIG")],
    json_: Annotated[bool, typer.Option("--json", help="Print the stored record.")] = False,
) -> None:
    """Say why a recommendation was made, what else was considered, and what happened.

    Example: [bold]hashmargin explain a01-20260101T120000 --config site.yaml[/bold]
    """
    with site_store(config) as store:
        found = store.recommendation(identifier)
        if found is None:
            raise InputError(
                f"{identifier}: no such recommendation; see: hashmargin recommendations list --all"
            )
        acts = [act for act in store.acts(limit=100_000) if act.recommendation_id == identifier]
    if json_:
        typer.echo(found.model_dump_json(indent=2))
        return
    typer.echo("\n".join(words(found, acts)))


def words(one: Recommendation, acts: list[Act]) -> list[str]:
    """The explanation, line by line."""
    gain, expected, why = one.gain_usd_per_day, one.expected, one.why
    rate, power = expected.hashrate_ths, expected.power_w
    chance = f"the probability that it is above 0 is {100 * one.confidence:.0f} %"
    fallback = " (fallback: no trained model covers this unit)" if why.model_is_fallback else ""
    out = [
        f"{one.id} ({one.status})",
        f"{one.miner_id} ({one.model or 'unknown model'}): from {one.current} to {one.proposed}",
        "",
        f"Why: {why.summary}.",
        f"Expected gain {gain.q50:+.2f} USD/day, 80 % interval {gain.q10:+.2f} to {gain.q90:+.2f}; {chance}.",
        f"Expected rate {rate.q50:.1f} TH/s, 80 % interval {rate.q10:.1f} to {rate.q90:.1f}.",
        f"Expected power {power.q50:.0f} W, 80 % interval {power.q10:.0f} to {power.q90:.0f}.",
        f"Judged over {why.prices_from:%Y-%m-%d %H:%M} to {why.prices_to:%Y-%m-%d %H:%M} UTC.",
        f"Model: {why.model}{fallback}",
        "",
        "Inputs:",
        *(f"  {name}: {value if value is not None else 'unknown'}" for name, value in why.inputs.items()),
        "Considered instead:",
        *(f"  {a.setting}: {a.profit_usd_per_day:+.2f} USD/day; {a.reason}" for a in why.alternatives),
    ]
    if why.binds:
        out += ["What binds:", *(f"  {limit}" for limit in why.binds)]
    out += ["Steps for a person:", *(f"  {i}. {step}" for i, step in enumerate(one.steps, 1))]
    if one.decided_by is not None:
        out.append(f"Decided: {one.status} by {one.decided_by}, {one.decided_at:%Y-%m-%d %H:%M} UTC")
    for act in sorted(acts, key=lambda act: act.intended_at):
        out.append(f"Act {act.id}: {act.target}, {act.status}. Sent: {act.sent or 'nothing'}.")
        if act.outcome is not None:
            out.append(f"  Telemetry: {act.outcome}.")
    return out
