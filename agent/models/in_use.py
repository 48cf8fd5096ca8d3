"""Which predictor a site decides with: the configured bundle while it is good, else the profiles' curves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from agent.alerts import Alerts
from agent.fleet import Unit
from agent.models.bundle import MANIFEST
from agent.models.inference import Predictor, choose_predictor

_ALERT = "model-bundle"


class ModelInUse:
    """Loads a bundle when it is new, and keeps it while the fleet changes; a refused one is tried again then.

    Args:
        path: directory of the bundle, None where the site has none.
    """

    def __init__(self, path: Path | None, alerts: Alerts) -> None:
        self._path = path
        self._alerts = alerts
        self._predictor: Predictor | None = None
        self._failed = False
        self._stamp: tuple[int, int] | None = None
        self._hardware: tuple[str | None, ...] = ()

    async def choose(self, units: Sequence[Unit], now: datetime) -> Predictor:
        """The predictor in use, with `units` as its fleet.

        Raises:
            StoreError: an alert could not be stored.
        """
        stamp = _stamp(self._path / MANIFEST) if self._path is not None else None
        hardware = tuple(unit.profile.key if unit.profile is not None else None for unit in units)
        current = self._predictor
        loaded = current is not None and current.bundle_id is not None
        if current is not None and stamp == self._stamp and (loaded or hardware == self._hardware):
            current.update_units(units)
            if loaded and current.is_fallback != self._failed:
                # A bundle that passed its checks does not run on what this site measures, or does again.
                self._failed = current.is_fallback
                self._alerts.tell(_ALERT, now, "warning", current.label, cleared=not self._failed)
            return current
        # Seconds on a small computer; commands on the wire must not wait for them.
        chosen = await asyncio.to_thread(choose_predictor, self._path, units)
        self._stamp, self._hardware = stamp, hardware
        if current is not None and chosen.is_fallback and not current.is_fallback:
            # A bundle that went bad never replaces one that works.
            words = f"new bundle refused, the old one stays: {chosen.label}"
            self._alerts.tell(_ALERT, now, "warning", words)
            current.update_units(units)
            return current
        self._alerts.tell(_ALERT, now, "warning", chosen.label, cleared=not chosen.is_fallback)
        self._predictor, self._failed = chosen, False
        return chosen


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size
