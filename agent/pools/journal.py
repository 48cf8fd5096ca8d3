"""Every change of pools, one JSON object a line: what was about to be sent, and what came of it.

Append-only, on disk before the caller goes on, and without passwords.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.errors import StoreError

# The file's name inside a site's state folder.
JOURNAL = "pools.jsonl"


class PoolJournal:
    """One run's entries. Use while holding the state folder, so that lines of two runs do not mix.

    Args:
        run: names the run; every line carries it.
        by: who asked for it.
    """

    def __init__(self, folder: Path, clock: Clock, site_id: str, run: str, by: str) -> None:
        self.path = folder / JOURNAL
        self._clock = clock
        self._fixed = {"run": run, "site": site_id, "by": by}

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Add one line.

        Raises:
            StoreError: it could not be made durable; nothing may be sent on its strength.
        """
        at = self._clock.now().astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "event": event, **self._fixed, **fields}, ensure_ascii=True) + "\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                data = line.encode()
                if os.write(handle, data) != len(data):
                    raise StoreError(f"{self.path}: only part of a line could be written; is the disk full?")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
