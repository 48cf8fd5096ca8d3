"""Finding the miner that a person means: by id, MAC or address, whatever the agent calls it now."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from agent.config import SiteConfig
from agent.errors import InputError
from agent.records import Summary

_NEAR = 5


def lookup(wanted: str, site: SiteConfig, summary: Summary | None, among: Collection[str]) -> str | None:
    """The one of `among` that goes by `wanted`, upper and lower case alike; None where none does.

    Args:
        site: with the ids, MACs and addresses that people wrote.
        summary: of the agent's last cycle, with those that it found; None before the first.
        among: miner ids to choose from.
    """
    alike = _names(site, summary, among).get(wanted.strip().lower(), ())
    ids = {one.lower(): one for one in among}
    return next((ids[name] for name in alike if name in ids), None)


def find_miner(wanted: str, site: SiteConfig, summary: Summary | None, among: Collection[str]) -> str:
    """As `lookup`.

    Raises:
        InputError: none goes by it. It lists names that are like it.
    """
    found = lookup(wanted, site, summary, among)
    if found is None:
        hint = near_words(wanted, _names(site, summary, among))
        raise InputError(f"--miner {wanted}: no miner of the site goes by this; {hint}")
    return found


def near_words(wanted: str, names: Iterable[str], searched: str = "ids, MACs and addresses") -> str:
    """For the end of an error: the names that are like `wanted`, else what may be given."""
    wanted, known = wanted.strip().lower(), list(dict.fromkeys(name.lower() for name in names))
    near = [name for name in known if wanted and wanted in name]
    near += [name for name in get_close_matches(wanted, known, _NEAR) if name not in near]
    if not near:
        return f"{searched} are searched"
    *more, last = near[:_NEAR]
    return f"did you mean {', '.join(more)} or {last}?" if more else f"did you mean {last}?"


def _names(site: SiteConfig, summary: Summary | None, among: Iterable[str]) -> dict[str, list[str]]:
    """Every name in lower case, with all names of the miner that goes by it.

    What the agent found last wins: addresses move.
    """
    names: dict[str, list[str]] = {}

    def add(own: list[str], group: list[str]) -> None:
        group += [name for name in own if name not in group]
        names.update(dict.fromkeys(own, group))

    for miner in site.miners:
        add([name.lower() for name in (miner.id, miner.mac, miner.address) if name is not None], [])
    for line in summary.miners if summary is not None else ():
        name, address = line.miner_id.lower(), line.address.lower()
        add([name, address], names.get(name, []))
    for one in among:
        if one.lower() not in names:
            add([one.lower()], [])
    return names
