"""The pools and groups of LuxOS: numbers that stay while pools come, go and change places.

The machine keeps its pools in order of priority; numbers, groups and what is disabled are kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.machine import Machine, PoolEntry

MAX_POOLS = 32
MAX_GROUPS = 8


@dataclass(slots=True)
class Group:
    """A named list of pools and its share of the work."""

    name: str
    quota: float


@dataclass(slots=True, eq=False)
class Row:
    """One pool as the API numbers it: `number` is its place in the list, `priority` in the machine's."""

    entry: PoolEntry
    group: int = 0
    disabled: bool = False


class PoolBook:
    """Numbers the machine's pools.

    Args:
        machine: whose pools these are.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._rows: list[Row] = []
        self.groups: list[Group] = [Group("default", 1.0)]

    def rows(self) -> list[Row]:
        """Every pool in order of its number, brought up to date with the machine."""
        present = [entry for entry in self._machine.pools if entry.url]
        # Pools are told apart by identity: the same login may be listed twice.
        self._rows = [row for row in self._rows if any(row.entry is entry for entry in present)]
        known = {id(row.entry) for row in self._rows}
        self._rows += [Row(entry) for entry in present if id(entry) not in known]
        return self._rows

    def priority(self, row: Row) -> int:
        """Place among the machine's pools, 0 first."""
        present = [entry for entry in self._machine.pools if entry.url]
        return next((place for place, entry in enumerate(present) if entry is row.entry), len(present))

    def active(self) -> Row | None:
        """The pool that gets the work: the first by priority that is not disabled."""
        rows = sorted(self.rows(), key=self.priority)
        return next((row for row in rows if not row.disabled), None)

    def add(self, entry: PoolEntry, group: int) -> None:
        """Append a pool."""
        self._rows = [*self.rows(), Row(entry, group)]
        self._store([row.entry for row in sorted(self._rows[:-1], key=self.priority)] + [entry])

    def remove(self, row: Row) -> None:
        """Take a pool away; higher numbers move down."""
        entries = [other.entry for other in sorted(self.rows(), key=self.priority) if other is not row]
        self._store(entries)

    def prefer(self, row: Row) -> None:
        """Make a pool the first by priority, and enable it."""
        if row not in self.rows():
            return
        row.disabled = False
        others = [other.entry for other in sorted(self.rows(), key=self.priority) if other is not row]
        self._store([row.entry, *others])

    def reorder(self, order: Sequence[Row]) -> None:
        """Give priorities in this order; pools not named follow as they were."""
        rest = [row for row in sorted(self.rows(), key=self.priority) if row not in order]
        self._store([row.entry for row in (*order, *rest)])

    def remove_group(self, number: int) -> None:
        """Take a group and its pools away; higher group numbers move down."""
        if number >= len(self.groups):
            return
        del self.groups[number]
        rows = sorted(self.rows(), key=self.priority)
        self._store([row.entry for row in rows if row.group != number])
        for row in self.rows():
            row.group -= row.group > number

    def _store(self, entries: list[PoolEntry]) -> None:
        self._machine.set_pools(entries)
