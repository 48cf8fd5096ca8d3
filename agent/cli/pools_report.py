"""What `hashmargin pools` says: words for a person, one JSON document for a program, passwords in neither."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from agent.cli.pools_run import PoolsResult, PoolsRun
from agent.cli.pools_table import names_of, outcomes_table, plain, plan_table, pools_table
from agent.cli.tables import console_for
from agent.config import SiteConfig
from agent.pools.guard import PoolGuard, shown
from agent.pools.survey import MinerPools, in_order, trust_of
from agent.reading import Pool

_LISTED = 50
_EXAMPLES = 5


def say_shown(
    found: Sequence[MinerPools], guard: PoolGuard, workers: Mapping[str, str], config: Path
) -> None:
    """The table of `show`, and what follows from it."""
    unread = [one for one in found if one.pools is None]
    if len(unread) < len(found):
        console_for(sys.stdout.isatty()).print(pools_table(found, guard, workers))
    _say_left_out("not read", {one.miner: f"{one.problem}: {one.detail}" for one in unread})
    if not guard.patterns:
        _say_how_to_trust(found, config)
        return
    counts = Counter(_trust(one, guard) for one in found)
    words = [f"{counts['trusted']:,} trusted", f"{counts['not_trusted']:,} NOT TRUSTED"]
    typer.echo(f"{_miners(len(found))}: {', '.join(words)}, {len(unread):,} not read")
    strange = [one.miner for one in found if _trust(one, guard) == "not_trusted"]
    if strange:
        typer.echo(
            f"{names_of(strange, _LISTED)}: a pool there is not on the site's list; somebody may have "
            "redirected this hashing.\nPut it right with `hashmargin pools set`, or, if the pool is yours, "
            f"add it to trusted_pools in {config}."
        )


def say_plan(run: PoolsRun, result: PoolsResult, command: str) -> None:
    """The dry run of `set`."""
    changing = result.changing
    if changing:
        plan = [(one, run.logins(one.miner)) for one in changing]
        console_for(sys.stdout.isatty()).print(plan_table(plan, run.guard, run.workers))
    _say_left_out("left out", result.left_out)
    typer.echo(
        f"{_miners(len(result.found))}: {len(changing):,} would change, "
        f"{len(result.same):,} already as wanted, {len(result.left_out):,} left out"
    )
    typer.echo(f"Nothing was sent. To do it: {command}" if changing else "There is nothing to do.")


def say_done(result: PoolsResult) -> None:
    """What `set --yes` came to."""
    tried = [outcome for outcome in result.outcomes if outcome.state != "untouched"]
    if tried:
        console_for(sys.stdout.isatty()).print(outcomes_table(tried))
    _say_left_out("left out", result.left_out)
    counts = Counter(outcome.state for outcome in result.outcomes)
    already = len(result.same) + counts["already"]
    words = [f"{counts['set']:,} set", f"{already:,} already as wanted"]
    words += [f"{counts[state]:,} {state}" for state in ("failed", "unknown", "untouched") if counts[state]]
    if result.left_out or counts["skipped"]:
        words.append(f"{len(result.left_out) + counts['skipped']:,} left out")
    typer.echo(f"{_miners(len(result.found))}: {', '.join(words)}")
    if result.halted is not None:
        typer.echo(f"Stopped early: {plain(result.halted, 300)}.")
    untouched = [outcome.miner for outcome in result.outcomes if outcome.state == "untouched"]
    if untouched:
        typer.echo(f"Untouched, with the pools they had: {names_of(untouched, _LISTED)}")
    if tried and result.journal is not None:
        typer.echo(f"Recorded in {result.journal}")


def show_document(site: SiteConfig, found: Sequence[MinerPools], guard: PoolGuard) -> dict[str, Any]:
    """The JSON of `show`."""
    counts = Counter(_trust(one, guard) for one in found)
    return {
        "site": site.site.id,
        "trusted_pools": list(guard.patterns),
        "counts": {name: counts[name] for name in ("trusted", "not_trusted", "unknown", "not_read")},
        "miners": [
            {
                "miner": one.miner,
                "address": one.address,
                "family": one.family,
                "trust": _trust(one, guard),
                "pools": _pools(one.pools, guard),
                "error": {"kind": one.problem, "detail": one.detail} if one.pools is None else None,
            }
            for one in found
        ],
    }


def set_document(run: PoolsRun, result: PoolsResult) -> dict[str, Any]:
    """The JSON of `set`; `state` of a miner is `would_change` where nothing was sent."""
    done = {outcome.miner: outcome for outcome in result.outcomes}
    miners = []
    for one in result.found:
        outcome = done.get(one.miner)
        state, detail = "would_change", None
        if one.miner in result.left_out:
            state, detail = "left_out", result.left_out[one.miner]
        elif one.miner in result.same:
            state = "already"
        elif outcome is not None:
            state, detail = outcome.state, outcome.detail
        miners.append(
            {
                "miner": one.miner,
                "address": one.address,
                "family": one.family,
                "state": state,
                "detail": detail,
                "before": _pools(one.pools, run.guard),
                "wanted": [{"url": pool.url, "user": pool.user} for pool in run.logins(one.miner)],
                "after": _pools(outcome.pools, run.guard) if outcome is not None else None,
            }
        )
    counts = Counter(miner["state"] for miner in miners)
    return {
        "site": run.site.site.id,
        "dry_run": result.journal is None,
        "stopped_early": result.halted,
        "journal": str(result.journal) if result.journal is not None else None,
        "counts": dict(sorted(counts.items())),
        "miners": miners,
    }


def _say_how_to_trust(found: Sequence[MinerPools], config: Path) -> None:
    hosts: Counter[str] = Counter()
    for one in found:
        hosts.update(
            list(dict.fromkeys(host for pool in one.pools or () if (host := _host(pool)) is not None))
        )
    typer.echo(
        f"{config} lists no trusted pools, so none can be marked. Add the ones that are yours, for example:"
    )
    typer.echo("\ntrusted_pools:")
    for host, count in hosts.most_common(_EXAMPLES):
        typer.echo(f'  - "{host}"    # {_miners(count)} now; keep it only if it is yours')
    if not hosts:
        typer.echo('  - "*.pool.example"    # any host of that domain, any port')
        typer.echo('  - "stratum+ssl://backup.example.net:443"    # just this one')


def _host(pool: Pool) -> str | None:
    """A pool's host as a pattern of `trusted_pools`, None where it cannot be one."""
    host = shown(pool.url).rpartition("://")[2].lower().split("/")[0].split(":")[0]
    usable = 0 < len(host) <= 80 and host.isascii() and host.replace("-", "").replace(".", "").isalnum()
    return host if usable else None


def _say_left_out(title: str, reasons: Mapping[str, str]) -> None:
    """Each miner with its reason; those of one reason together."""
    groups: dict[str, list[str]] = {}
    for miner, reason in reasons.items():
        groups.setdefault(plain(reason, 300), []).append(miner)
    for reason, names in list(groups.items())[:_LISTED]:
        typer.echo(f"{title}: {names_of(names, 10)}: {reason}")
    if len(groups) > _LISTED:
        typer.echo(f"{title}: more for {len(groups) - _LISTED} other reasons; --json lists them all")


def _trust(miner: MinerPools, guard: PoolGuard) -> str:
    """The worst of its pools; a miner without a pool hashes for nobody and is no concern."""
    if miner.pools is None:
        return "not_read"
    if not guard.patterns:
        return "unknown"
    marks = {trust_of(pool, guard) for pool in miner.pools}
    return "not_trusted" if "not_trusted" in marks else "trusted"


def _pools(pools: Sequence[Pool] | None, guard: PoolGuard) -> list[dict[str, Any]] | None:
    if pools is None:
        return None
    return [
        {
            "slot": slot,
            "url": shown(pool.url),
            "user": pool.user,
            "state": pool.state,
            "active": pool.active,
            "trust": trust_of(pool, guard),
        }
        for slot, pool in enumerate(in_order(pools), 1)
    ]


def _miners(count: int) -> str:
    return f"{count:,} miner{'s' if count != 1 else ''}"
