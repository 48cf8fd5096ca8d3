"""Notices miners that hash for a pool nobody at the site trusts: stolen hashing is an alert, at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.pools.guard import PoolGuard
from agent.reading import Reading


@dataclass(frozen=True, slots=True)
class PoolFinding:
    """A miner whose pools began to be, or are no longer, untrusted. `strangers` is empty when all is well."""

    miner_id: str
    strangers: tuple[str, ...]

    @property
    def key(self) -> str:
        """Of the alert, the same for its beginning and its end."""
        return f"pool-{self.miner_id}"

    @property
    def cleared(self) -> bool:
        """True if it is over."""
        return not self.strangers

    @property
    def words(self) -> str:
        """For the alert."""
        if self.cleared:
            return f"{self.miner_id}: every pool is a trusted one again"
        return (
            f"{self.miner_id}: pool {', '.join(self.strangers)} is not on the site's list; somebody may have "
            "redirected this miner. Correct its pools, or add the pool to trusted_pools in the site file"
        )


class PoolWatch:
    """Compares what miners report with the trusted patterns, and reports changes only.

    Without patterns nothing is watched: a site that lists no pools has not said whom it trusts.
    """

    def __init__(self, guard: PoolGuard) -> None:
        self._guard = guard
        self._seen: dict[str, tuple[str, ...]] = {}

    def look(self, readings: Iterable[tuple[str, Reading | None]]) -> list[PoolFinding]:
        """What changed since the last look. A miner that reports no pools stays as it was.

        Args:
            readings: miner id and its new reading, None where this poll failed.
        """
        found = []
        for miner_id, reading in readings if self._guard.patterns else ():
            if reading is None or reading.pools is None:
                continue
            strangers = self._guard.strangers(reading.pools)
            if strangers == self._seen.get(miner_id, ()):
                continue
            if strangers:
                self._seen[miner_id] = strangers
            else:
                del self._seen[miner_id]
            found.append(PoolFinding(miner_id, strangers))
        return found
