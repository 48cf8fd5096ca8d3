"""Notices that another machine answers at a miner's address, and that two machines answer with one MAC.

Pure: it judges readings and says what follows. Moving endpoints and raising alerts is left to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.errors import WrongMiner
from agent.mac_address import normalise_mac
from agent.telemetry import PollResult

_MOVED, _TWICE = "miner-moved-", "duplicate-mac-"


@dataclass(frozen=True, slots=True)
class Post:
    """One configured miner: its id, the MAC it must have (None: any), and where it is asked now.

    Args:
        movable: False where its address must not be exchanged (a host name, ports of its own).
    """

    miner_id: str
    mac: str | None
    address: str
    movable: bool = True


@dataclass(frozen=True, slots=True)
class MacFinding:
    """Something about MACs that began, changed or ended."""

    kind: Literal["miner-moved", "duplicate-mac"]
    key: str
    words: str
    severity: Literal["info", "warning", "critical"]
    miner_id: str | None = None
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """One round of readings, judged.

    Args:
        results: as they came, but a stranger's reading is replaced by an error.
        strangers: places in the list at which another machine answers, or may; no write may go there.
        doubled: places whose MAC another place reports as well; no write may go there.
        moves: place -> the address at which its miner was found. The addresses of all places together
            stay the same set, so nobody loses one.
        relearn: places whose MAC began to contradict another's: what is remembered of them may be old.
    """

    results: tuple[PollResult, ...]
    strangers: frozenset[int]
    doubled: frozenset[int]
    moves: Mapping[int, str] = field(default_factory=dict)
    relearn: frozenset[int] = frozenset()
    findings: tuple[MacFinding, ...] = ()


class MacWatch:
    """Remembers which places are in doubt between rounds: a doubt ends only with an answer that ends it.

    Args:
        told: key -> text of alerts of these kinds that stand open since an earlier run.
    """

    def __init__(self, told: Mapping[str, str] | None = None) -> None:
        self._last: dict[int, str] = {}
        self._strangers: set[int] = set()
        self._twins: dict[str, set[int]] = {}
        self._homes: dict[int, str] = {}
        self._told = {key: words for key, words in (told or {}).items() if key.startswith((_MOVED, _TWICE))}

    def look(
        self, posts: Sequence[Post], results: Sequence[PollResult], proofs: Mapping[int, str] | None = None
    ) -> Judged:
        """Judge one round.

        Args:
            posts: the same miners in the same order each time.
            results: their readings, in order.
            proofs: place -> MAC, normalised, that was asked for in this round; it outweighs the one of a
                reading, which may be remembered.
        """
        for i, post in enumerate(posts):
            self._homes.setdefault(i, post.address)
        seen = _macs_of(results)
        proven = dict(proofs or {})
        outdated = {i for i, mac in proven.items() if seen.get(i, mac) != mac}
        seen |= proven
        self._last |= seen
        before = {i for group in self._twins.values() for i in group}
        doubled = self._note_twins(seen)
        owners = {post.mac: i for i, post in enumerate(posts) if post.mac is not None}
        found_at = {owners[mac]: i for i, mac in seen.items() if mac in owners and i not in doubled}
        strangers = self._note_strangers(posts, results, seen, owners)
        moves = _moves(posts, found_at, doubled)
        findings = [
            *self._tell_twins(posts),
            *self._tell_strangers(posts, results, seen, strangers, owners, moves),
        ]
        judged = tuple(
            _without_reading(posts[i], result, seen.get(i)) if i in strangers else result
            for i, result in enumerate(results)
        )
        for i in moves:
            self._last.pop(i, None)
        relearn = frozenset((doubled - before) | outdated)
        return Judged(judged, frozenset(strangers), frozenset(doubled), moves, relearn, tuple(findings))

    def _note_twins(self, seen: Mapping[int, str]) -> set[int]:
        """Places that share a MAC. Once they did, a silent one goes on counting."""
        now: dict[str, set[int]] = {}
        for i, mac in seen.items():
            now.setdefault(mac, set()).add(i)
        for mac in {*now, *self._twins}:
            group = now.get(mac, set()) | {i for i in self._twins.get(mac, ()) if self._last.get(i) == mac}
            if len(group) > 1:
                self._twins[mac] = group
            else:
                self._twins.pop(mac, None)
        return {i for group in self._twins.values() for i in group}

    def _note_strangers(
        self,
        posts: Sequence[Post],
        results: Sequence[PollResult],
        seen: Mapping[int, str],
        owners: Mapping[str, int],
    ) -> set[int]:
        elsewhere = {owners[mac] for i, mac in seen.items() if mac in owners and owners[mac] != i}
        for i, (post, result) in enumerate(zip(posts, results, strict=True)):
            mac = seen.get(i)
            if mac is not None:
                wrong = mac != post.mac if post.mac is not None else owners.get(mac, i) != i
                (self._strangers.add if wrong else self._strangers.discard)(i)
            elif i in elsewhere and result.reading is not None:
                # It says nothing of its MAC while the miner that belongs here answers somewhere else.
                self._strangers.add(i)
        return set(self._strangers)

    def _tell_twins(self, posts: Sequence[Post]) -> list[MacFinding]:
        findings = []
        for mac, group in self._twins.items():
            where = ", ".join(posts[i].address for i in sorted(group))
            words = (
                f"MAC {mac} is reported by several addresses: {where}; nothing is written to any of them. "
                "Give each control board a MAC of its own"
            )
            findings += self._news("duplicate-mac", f"{_TWICE}{mac}", words, "warning")
        standing = {f"{_TWICE}{mac}" for mac in self._twins}
        for key in [key for key in self._told if key.startswith(_TWICE) and key not in standing]:
            mac = key.removeprefix(_TWICE)
            findings += self._end("duplicate-mac", key, f"MAC {mac} is unique again")
        return findings

    def _tell_strangers(
        self,
        posts: Sequence[Post],
        results: Sequence[PollResult],
        seen: Mapping[int, str],
        strangers: set[int],
        owners: Mapping[str, int],
        moves: Mapping[int, str],
    ) -> list[MacFinding]:
        findings = []
        for i, post in enumerate(posts):
            key, mac = f"{_MOVED}{post.miner_id}", seen.get(i)
            if i in moves:
                words = self._words_of_move(post, moves[i], mac, self._homes[i])
                findings += self._news("miner-moved", key, words, "warning", post.miner_id)
            elif i in strangers and (mac is not None or results[i].reading is not None):
                words = _words_of_stranger(post, mac, owners, posts)
                findings += self._news("miner-moved", key, words, "critical", post.miner_id)
            elif i not in strangers and mac is not None and post.address == self._homes[i]:
                words = f"{post.miner_id}: MAC {mac} answers at {post.address} as it should"
                findings += self._end("miner-moved", key, words)
        gone = {key for key in self._told if key.startswith(_MOVED)}
        for key in sorted(gone - {f"{_MOVED}{post.miner_id}" for post in posts}):
            words = f"{key.removeprefix(_MOVED)}: is not configured under this name any more"
            findings += self._end("miner-moved", key, words)
        return findings

    def _words_of_move(self, post: Post, to: str, mac: str | None, home: str) -> str:
        there = f"MAC {mac}" if mac is not None else "nobody"
        words = f"{post.miner_id}: {there} answers at {post.address} instead of MAC {post.mac}; "
        if to == home:
            return f"{words}it is asked at {to} again, as configured"
        return (
            f"{words}the addresses were exchanged on the network, and it is asked at {to} from now on. "
            "Run hashmargin discover, so that the inventory says so too"
        )

    def _news(
        self,
        kind: Literal["miner-moved", "duplicate-mac"],
        key: str,
        words: str,
        severity: Literal["warning", "critical"],
        miner_id: str | None = None,
    ) -> list[MacFinding]:
        if self._told.get(key) == words:
            return []
        self._told[key] = words
        return [MacFinding(kind, key, words, severity, miner_id)]

    def _end(self, kind: Literal["miner-moved", "duplicate-mac"], key: str, words: str) -> list[MacFinding]:
        if self._told.pop(key, None) is None:
            return []
        return [MacFinding(kind, key, words, "info", cleared=True)]


def _moves(posts: Sequence[Post], found_at: Mapping[int, int], doubtful: set[int]) -> dict[int, str]:
    """Who is to be asked where, if every step of the exchange is certain.

    Args:
        found_at: place of a miner -> place at whose address its MAC answered.
        doubtful: places whose MAC somebody else reports as well.
    """
    wanted = {i: j for i, j in found_at.items() if i != j}
    moves: dict[int, str] = {}
    for ring in _rings(wanted):
        if all(posts[i].mac is not None and posts[i].movable and i not in doubtful for i in ring):
            moves |= {i: posts[j].address for i, j in ring.items()}
    return moves


def _rings(wanted: Mapping[int, int]) -> list[dict[int, int]]:
    """Exchanges that touch one another, each closed: the miner nobody found takes the place that is left."""
    rings = []
    left = dict(wanted)
    targets = set(wanted.values())
    while left:
        # Begin where a chain begins, so that it is walked whole; a ring has no beginning.
        start = next((i for i in left if i not in targets), next(iter(left)))
        ring: dict[int, int] = {}
        here = start
        while here in left:
            ring[here] = left.pop(here)
            here = ring[here]
        if here != start:
            ring[here] = start
        rings.append(ring)
    return rings


def _words_of_stranger(post: Post, mac: str | None, owners: Mapping[str, int], posts: Sequence[Post]) -> str:
    if mac is None:
        return (
            f"{post.miner_id}: the machine at {post.address} tells no MAC, and MAC {post.mac} answers "
            "elsewhere; its readings are dropped and nothing is written to it"
        )
    owner = owners.get(mac)
    whose = f", which is {posts[owner].miner_id}'s," if owner is not None else ""
    due = f"MAC {post.mac}" if post.mac is not None else "a miner of its own"
    return (
        f"{post.miner_id}: MAC {mac}{whose} answers at {post.address} instead of {due}; its readings are "
        "dropped and nothing is written to it. Run hashmargin discover, or correct mac if the control "
        "board was replaced"
    )


def _without_reading(post: Post, result: PollResult, mac: str | None) -> PollResult:
    if result.reading is None:
        return result
    who = f"MAC {mac}" if mac is not None else "a machine that tells no MAC"
    due = f"MAC {post.mac}" if post.mac is not None else "this miner"
    return replace(
        result, reading=None, error=WrongMiner(post.address, f"{who} answers here instead of {due}")
    )


def _macs_of(results: Sequence[PollResult]) -> dict[int, str]:
    told = {i: r.reading.mac for i, r in enumerate(results) if r.reading is not None and r.reading.mac}
    return {i: mac for i, text in told.items() if (mac := normalise_mac(text)) is not None}


def mac_contradictions(
    posts: Sequence[Post], results: Sequence[PollResult], proofs: Mapping[int, str]
) -> set[int]:
    """Places to ask anew before judging: those that share a MAC, and both ends of a MAC at a wrong place."""
    owners = {post.mac: i for i, post in enumerate(posts) if post.mac is not None}
    macs = _macs_of(results) | dict(proofs)
    holders: dict[str, set[int]] = {}
    for i, mac in macs.items():
        holders.setdefault(mac, set()).add(i)
    shared = {i for group in holders.values() if len(group) > 1 for i in group}
    wrong = {i for i, mac in macs.items() if posts[i].mac not in (None, mac) or owners.get(mac, i) != i}
    return shared | wrong | {owners[macs[i]] for i in wrong if macs[i] in owners}
