"""Which boards of a Whatsminer are missing and which are sick, by what it lists and by its error codes.

A board that is not there is in no list: the gap in the numbers, a code or the unit's own count gives it away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from agent.hardware.catalogue import find
from agent.reading import Board, MinerError

_MOST = 16
_NOT_FOUND = re.compile(r"53(\d)")
# Chip and board faults by board: on their own they may be a single bad chip among hundreds.
_FAULT = re.compile(r"5[4-9](\d)|5[0-1][0-9](\d)|5[2-6](\d)\d{3}")
# A board this far below its factory rate whose code says why is sick and not just slow.
_SICK_BELOW = 0.9
# Grades of these models have two, three or four boards; their text does not tell which.
_COUNT_VARIES = ("whatsminer-m30s-plus-plus", "whatsminer-m50")


def expected_count(model: str | None) -> int | None:
    """How many boards a model has; None where that is not known, or differs between its grades."""
    profile = find(model) if model is not None else None
    return None if profile is None or profile.key in _COUNT_VARIES else profile.layout.boards


def judged(
    boards: Sequence[Board] | None,
    errors: Iterable[MinerError] | None,
    expected: int | None,
    factory_ths: Mapping[int, float],
) -> tuple[Board, ...] | None:
    """`boards` with those that are missing put in, and those that are sick marked.

    Args:
        boards: as listed, by index; None or empty while the miner lists none at all.
        expected: how many there should be, None where unknown.
        factory_ths: what each board does in health, by index, where the miner tells.
    """
    if not boards:
        return None
    codes = [error.code for error in errors or ()]
    found = {board.index: board for board in boards}
    absent = {int(m.group(1)) for code in codes if (m := _NOT_FOUND.fullmatch(code))}
    absent |= set(range(min(found), min(max(found), min(found) + _MOST)))
    for index in sorted(absent - set(found)):
        found[index] = Board(index=index, chips=0, state="missing")
    if expected is not None and len(found) < expected <= _MOST:
        base = 1 if 0 not in found and max(found) >= expected else 0
        free = [index for index in range(base, base + expected) if index not in found]
        for index in free[: expected - len(found)]:
            found[index] = Board(index=index, chips=0, state="missing")
    faulty = {int(next(g for g in m.groups() if g)) for c in codes if (m := _FAULT.fullmatch(c))}
    marked = [_marked(board, board.index in faulty, factory_ths.get(board.index)) for board in found.values()]
    return tuple(sorted(marked, key=lambda board: board.index))


def _marked(board: Board, faulty: bool, factory_ths: float | None) -> Board:
    slow = (
        board.hashrate_ths is not None
        and factory_ths is not None
        and board.hashrate_ths < _SICK_BELOW * factory_ths
    )
    return replace(board, state="sick") if board.state == "hashing" and faulty and slow else board
