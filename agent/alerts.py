"""Raises and clears the alerts of one site. What is worth an alert, its watcher knows."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol

from agent.records import Alert
from agent.store import Store

log = logging.getLogger(__name__)
_MOST_WORDS = 2000


class Finding(Protocol):
    """What a watcher has to say: something that began, or is over (`cleared`) under the same key."""

    @property
    def key(self) -> str:
        """The same for its beginning and its end."""
        ...

    @property
    def words(self) -> str:
        """For people."""
        ...

    @property
    def cleared(self) -> bool:
        """True if it is over."""
        ...


class Alerts:
    """The alerts of one site; each is stored, sent and logged once.

    Raises:
        StoreError: from every method, if the store cannot be used.
    """

    def __init__(self, site_id: str, store: Store) -> None:
        self._site_id = site_id
        self._store = store

    def standing(self) -> dict[str, str]:
        """Texts of the alerts that are open now, by key."""
        return {alert.key: alert.text for alert in self._store.alerts()}

    def found(
        self, finding: Finding, at: datetime, severity: str = "warning", miner_id: str | None = None
    ) -> None:
        """Raise what was found, or clear it where it is over.

        Args:
            severity: while it lasts; its end is for information.
            miner_id: the one miner that it concerns.
        """
        self.tell(
            finding.key,
            at,
            "info" if finding.cleared else severity,
            finding.words,
            cleared=finding.cleared,
            miner_id=miner_id,
        )

    def tell(
        self,
        key: str,
        at: datetime,
        severity: str,
        text: str,
        *,
        cleared: bool = False,
        miner_id: str | None = None,
    ) -> None:
        """Raise or clear the alert of `key`."""
        alert = Alert.model_validate(
            {
                "key": key,
                "site_id": self._site_id,
                "at": at,
                "severity": severity,
                "text": text[:_MOST_WORDS],
                "cleared": cleared,
                "miner_id": miner_id,
            }
        )
        if self._store.put_alert(alert) and not cleared:
            log.warning("%s", text)
