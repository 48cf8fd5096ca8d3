"""How pools look in a terminal: miners that have the same ones share a line.

Everything a miner says is shown as plain text, without control characters and cut to a length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from rich import box
from rich.table import Table
from rich.text import Text

from agent.pools.file import PLACEHOLDER
from agent.pools.guard import PoolGuard, PoolLogin, shown
from agent.pools.rollout import Outcome
from agent.pools.survey import MinerPools, trust_of
from agent.reading import Pool

MARKS = {"trusted": "trusted", "not_trusted": "NOT TRUSTED", "unknown": "unknown"}
_STYLES = {"trusted": "green", "not_trusted": "bold red", "unknown": "dim"}
_STATE_STYLES = {"set": "green", "already": "green", "failed": "bold red", "unknown": "yellow"}
_LONGEST = 80
_NAMES = 3
Row = tuple[str, str, str, str]
_T = TypeVar("_T")


def pools_table(miners: Sequence[MinerPools], guard: PoolGuard, workers: Mapping[str, str]) -> Table:
    """Every pool of every miner that was read, with its mark.

    Args:
        workers: what stands for `{miner}` in a user, by miner.
    """
    table = _table()
    for name in ("miner", "slot", "pool", "user", "status", "trust"):
        table.add_column(name, overflow="fold", justify="right" if name == "slot" else "left")
    read = [miner for miner in miners if miner.pools is not None]
    for group in _grouped(
        read, lambda miner, fold: _rows(miner, guard, workers[miner.miner] if fold else "")
    ):
        worker = workers[group[0].miner] if len(group) > 1 else ""
        rows = _rows(group[0], guard, worker)
        names = names_of([miner.miner for miner in group])
        for slot, (url, user, status, mark) in enumerate(rows, 1):
            first = Text(names if slot == 1 else "")
            mark_text = Text(MARKS[mark], style=_STYLES[mark])
            table.add_row(first, str(slot), Text(url), Text(user), Text(status, style="dim"), mark_text)
        if not rows:
            table.add_row(Text(names), "-", Text("no pool is set", style="yellow"), "", "", "")
    return table


def plan_table(
    plan: Sequence[tuple[MinerPools, tuple[PoolLogin, ...]]], guard: PoolGuard, workers: Mapping[str, str]
) -> Table:
    """What each miner has now beside what it would have."""
    table = _table()
    for name in ("miner", "now", "would be"):
        table.add_column(name, overflow="fold")
    wanted_by = {miner.miner: wanted for miner, wanted in plan}

    def key(miner: MinerPools, fold: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        worker = workers[miner.miner] if fold else ""
        now = tuple(
            f"{slot}. {plain(shown(pool.url))} {folded(plain(pool.user or ''), worker)}".rstrip()
            + ("  NOT TRUSTED" if trust_of(pool, guard) == "not_trusted" else "")
            for slot, pool in enumerate(miner.pools or (), 1)
        )
        new = tuple(
            f"{slot}. {pool.url} {folded(pool.user, worker)}"
            for slot, pool in enumerate(wanted_by[miner.miner], 1)
        )
        return now, new

    for group in _grouped([miner for miner, _ in plan], key):
        now, new = key(group[0], len(group) > 1)
        before = Text("\n").join(
            Text(line, style="red" if line.endswith("NOT TRUSTED") else "") for line in now
        )
        table.add_row(
            Text(names_of([miner.miner for miner in group])),
            before if now else Text("no pool is set", style="yellow"),
            Text("\n".join(new)),
        )
    return table


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    """What became of each miner; those of one outcome share a line."""
    table = _table()
    for name in ("outcome", "miner", "what"):
        table.add_column(name, overflow="fold")
    for group in _grouped(outcomes, lambda outcome, _: (outcome.state, outcome.detail)):
        state, style = group[0].state, _STATE_STYLES.get(group[0].state, "")
        names = names_of([outcome.miner for outcome in group])
        table.add_row(Text(state, style=style), Text(names), Text(plain(group[0].detail, 300)))
    return table


def names_of(names: Sequence[str], most: int = _NAMES) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    listed = ", ".join(names[:most])
    return listed if more <= 0 else f"{listed} and {more:,} more"


def folded(user: str, worker: str) -> str:
    """A user that ends in the miner's own name, with `{miner}` in its place."""
    head = user[: len(user) - len(worker)]
    if not worker or not user.endswith(worker) or head[-1:].isalnum():
        return user
    return f"{head}{PLACEHOLDER}"


def plain(text: str, longest: int = _LONGEST) -> str:
    """Text of a miner, fit for a terminal."""
    kept = "".join(c if c.isprintable() else "?" for c in text[: longest + 1])
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def status_of(pool: Pool) -> str:
    """The state in the miner's words, and whether it hashes for this pool now."""
    words = [plain(pool.state, 20)] if pool.state else []
    return ", ".join([*words, "active"] if pool.active else words) or "?"


def _rows(miner: MinerPools, guard: PoolGuard, worker: str) -> tuple[Row, ...]:
    return tuple(
        (
            plain(shown(pool.url)),
            folded(plain(pool.user or "?"), worker),
            status_of(pool),
            trust_of(pool, guard),
        )
        for pool in miner.pools or ()
    )


def _grouped(items: Sequence[_T], key: Callable[[_T, bool], object]) -> list[list[_T]]:
    """Items of one key together, in the order of the first of each."""
    groups: dict[object, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item, True), []).append(item)
    return list(groups.values())


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
