"""What the agent does for the lake: keeps rows at their rhythm, packs finished days, stays within its room.

Telemetry must never cost a cycle: what goes wrong here becomes a finding with words, and polling goes on.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from agent.clock import Clock
from agent.config import LakeConfig, SiteConfig
from agent.errors import DataError, StoreError
from agent.fleet import FleetFrame
from agent.lake.journal import JOURNAL, Journal
from agent.lake.keeper import lake_bytes, pack_finished, trim
from agent.lake.rows import Rows, pack, rows_of
from agent.records import TelemetryRecord
from agent.store import Store
from agent.telemetry import LAKE_SCHEMA_VERSION

log = logging.getLogger(__name__)
_MIB = 1024 * 1024
# Packing and trimming need not be tried at every moment that is recorded.
_TIDY_EVERY = timedelta(minutes=30)
NO_PYARROW = (
    "telemetry waits in {journal} because pyarrow is not installed; "
    "install it with: pip install 'hashmargin[lake]'"
)


class LakeFinding(NamedTuple):
    """Something to say about the lake: raised, or cleared again."""

    key: str
    words: str
    cleared: bool


class LakeRecorder:
    """Keeps a site's telemetry as its site file asks for.

    Args:
        config: its `lake` says where, how often and how much; without it nothing is kept.
        store: where rows for the dashboard wait.
        raised: keys of the findings that are open from an earlier run, so that they can be cleared.
    """

    def __init__(self, config: SiteConfig, store: Store, clock: Clock, raised: Sequence[str] = ()) -> None:
        self._site_id = config.site.id
        self._config: LakeConfig | None = config.lake
        self._path: Path = config.state_dir / JOURNAL
        self._slack = timedelta(seconds=config.poll.interval_s / 2.0)
        self._store = store
        self._clock = clock
        self._journal: Journal | None = None
        self._recorded_at: datetime | None = None
        self._tidied_at: datetime | None = None
        self._open = {key for key in raised if key.startswith("lake-")}

    async def observe(self, frame: FleetFrame, models: Sequence[str | None]) -> list[LakeFinding]:
        """Keep the moment if it is time, then tidy up if it is time for that.

        Args:
            models: per unit what the firmware calls the hardware, where known.

        Returns:
            What is new to say.
        """
        if self._config is None or not self._due(frame.at):
            return []
        words: dict[str, str | None] = {"lake-record": None}
        try:
            rows = rows_of(self._site_id, frame, models)
            if self._config.path is not None:
                await asyncio.to_thread(self._record, rows, frame.at)
            if self._config.deliver and len(rows):
                for record in records_of(self._site_id, rows, frame.at):
                    self._store.put_telemetry(record)
            self._recorded_at = frame.at
        except (StoreError, DataError) as error:
            words["lake-record"] = f"telemetry is not being kept: {error}"
        if self._config.path is not None and self._is_time_to_tidy(frame.at):
            self._tidied_at = frame.at
            words |= await asyncio.to_thread(self._tidy, self._config, self._config.path)
        return self._changes(words)

    def _due(self, now: datetime) -> bool:
        assert self._config is not None
        if self._recorded_at is None and self._config.path is not None:
            try:
                self._recorded_at = self._opened().recorded_at()
            except StoreError:
                # `observe` meets it again and says so.
                return True
        if self._recorded_at is None or now < self._recorded_at:
            return True
        return now - self._recorded_at >= timedelta(seconds=self._config.interval_s) - self._slack

    def _opened(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(self._path, self._site_id, self._clock.now())
            if self._journal.damage is not None:
                log.error("%s", self._journal.damage)
        return self._journal

    def _record(self, rows: Rows, at: datetime) -> None:
        self._opened().record(rows, at)

    def _is_time_to_tidy(self, now: datetime) -> bool:
        return self._tidied_at is None or not timedelta(0) <= now - self._tidied_at < _TIDY_EVERY

    def _tidy(self, config: LakeConfig, lake: Path) -> dict[str, str | None]:
        words: dict[str, str | None] = {"lake-pack": None, "lake-room": None, "lake-pyarrow": None}
        try:
            journal = self._opened()
            try:
                done = pack_finished(journal, lake, self._clock.now())
                if done.files:
                    log.info("lake: %d rows in %d files under %s", done.rows, len(done.files), lake)
                if done.problems:
                    words["lake-pack"] = (
                        f"not all telemetry of {self._path} is packed: {_some(done.problems)}"
                    )
            except ModuleNotFoundError:
                words["lake-pyarrow"] = NO_PYARROW.format(journal=self._path)
            except (StoreError, DataError) as error:
                words["lake-pack"] = f"telemetry stays in {self._path} and is not packed: {error}"
            words["lake-room"] = _make_room(journal, lake, self._site_id, config.max_mib * _MIB)
        except StoreError as error:
            words["lake-pack"] = f"the lake cannot be looked after: {error}"
        return words

    def _changes(self, words: dict[str, str | None]) -> list[LakeFinding]:
        findings = []
        for key, text in words.items():
            if text is not None:
                self._open.add(key)
                findings.append(LakeFinding(key, text, False))
            elif key in self._open:
                self._open.discard(key)
                findings.append(LakeFinding(key, "telemetry is kept again as asked", True))
        return findings


def _some(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


def records_of(site_id: str, rows: Rows, at: datetime) -> list[TelemetryRecord]:
    """Rows as records for the dashboard, as few as fit."""
    return [
        TelemetryRecord(
            site_id=site_id,
            at=at,
            part=number,
            schema_version=LAKE_SCHEMA_VERSION,
            rows=len(part),
            packed=base64.b64encode(pack(part)).decode("ascii"),
        )
        for number, part in enumerate(rows.in_packs())
    ]


def _make_room(journal: Journal, lake: Path, site_id: str, max_bytes: int) -> str | None:
    """Words on what had to go, None where all has room. Parquet goes by its oldest day, packs one in two."""
    held = journal.size()
    gone = (
        trim(lake, site_id, max(max_bytes - held, 0)) if lake_bytes(lake, site_id) + held > max_bytes else []
    )
    left = max_bytes - lake_bytes(lake, site_id)
    dropped = journal.thin(max(left, 0)) if journal.size() > left else 0
    if not gone and not dropped:
        return None
    what = [f"the days {gone[0]} to {gone[-1]} were removed"] if gone else []
    what += [f"{dropped} of the oldest moments were thinned out"] if dropped else []
    return f"telemetry is over lake.max_mib ({max_bytes // _MIB} MiB): {' and '.join(what)}"
