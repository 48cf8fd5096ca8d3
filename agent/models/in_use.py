"""Which predictor a site decides with: the configured bundle while it is good, else the profiles' curves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from agent.alerts import Alerts
from agent.fleet import Unit
from agent.models.bundle import MANIFEST
from agent.models.inference import Predictor, choose_predictor

_ALERT = "model-bundle"


class ModelInUse:
    """Chooses anew when the bundle or the hardware on the site changes.

    Args:
        path: directory of the bundle, None where the site has none.
    """

    def __init__(self, path: Path | None, alerts: Alerts) -> None:
        self._path = path
        self._alerts = alerts
        self._predictor: Predictor | None = None
        self._failed = False
        self._stamp: tuple[int, int] | None = None
        self._covered: tuple[str | None, ...] = ()

    def choose(self, units: Sequence[Unit], now: datetime) -> Predictor:
        """The predictor in use, with `units` as its fleet.

        Raises:
            StoreError: an alert could not be stored.
        """
        stamp = _stamp(self._path / MANIFEST) if self._path is not None else None
        covered = tuple(unit.profile.key if unit.profile is not None else None for unit in units)
        if self._predictor is not None and (stamp, covered) == (self._stamp, self._covered):
            self._predictor.update_units(units)
            if self._predictor.bundle_id is not None and self._predictor.is_fallback != self._failed:
                # A bundle that passed its checks does not run on what this site measures, or does again.
                self._failed = self._predictor.is_fallback
                self._alerts.tell(_ALERT, now, "warning", self._predictor.label, cleared=not self._failed)
            return self._predictor
        chosen = choose_predictor(self._path, units)
        if self._predictor is not None and chosen.is_fallback and not self._predictor.is_fallback:
            # A bundle that went bad never replaces one that works.
            words = f"new bundle refused, the old one stays: {chosen.label}"
            self._alerts.tell(_ALERT, now, "warning", words)
            self._stamp = stamp
            return self._predictor
        self._alerts.tell(_ALERT, now, "warning", chosen.label, cleared=not chosen.is_fallback)
        self._predictor, self._stamp, self._covered = chosen, stamp, covered
        self._failed = False
        return chosen


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size
