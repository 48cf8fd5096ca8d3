"""The fleet's lake: what sites deliver waits in the database and becomes Parquet when its day is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.exc import DatabaseError

from agent.clock import Clock
from agent.errors import DataError, StoreError
from agent.lake.keeper import lake_bytes, pack_finished, trim
from dashboard.database import Database
from dashboard.schema import SchemaVersion, TelemetryPack

_log = logging.getLogger(__name__)
TIDY_EVERY_S = 600.0
_MIB = 1024 * 1024


class PackTable:
    """Packs in the fleet database, as `agent.lake.keeper` takes them.

    Args:
        database: open; stays the caller's.

    Raises:
        StoreError: from every method, when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with _answering(), database.read() as session:
            created = session.scalars(select(SchemaVersion.created_at)).one()
        self._epoch = f"{int(created.timestamp() * 1e6):x}"

    @property
    def epoch(self) -> str:
        """Stands for this database: numbers of another one mean other packs."""
        return self._epoch

    def days(self) -> list[tuple[str, date]]:
        """Sites and days that packs are held of, oldest first."""
        pairs = select(TelemetryPack.day, TelemetryPack.site_id).distinct()
        with _answering(), self._database.read() as session:
            found = session.execute(pairs.order_by(TelemetryPack.day, TelemetryPack.site_id)).all()
        return [(site, date.fromisoformat(day)) for day, site in found]

    def packs(self, site_id: str, day: date) -> list[tuple[int, bytes]]:
        """Number and body of each pack of a site's day, by rising number."""
        wanted = (TelemetryPack.site_id == site_id, TelemetryPack.day == day.isoformat())
        rows = select(TelemetryPack.id, TelemetryPack.body).where(*wanted).order_by(TelemetryPack.id)
        with _answering(), self._database.read() as session:
            return [(number, body) for number, body in session.execute(rows)]

    def forget(self, site_id: str, day: date, up_to: int) -> None:
        """Drop a site's packs of a day up to a number: they are in the lake."""
        gone = (
            TelemetryPack.site_id == site_id,
            TelemetryPack.day == day.isoformat(),
            TelemetryPack.id <= up_to,
        )
        with _answering(), self._database.write() as session:
            session.execute(delete(TelemetryPack).where(*gone))

    def sizes(self) -> dict[str, int]:
        """Bytes that wait, by site."""
        size = func.sum(func.length(TelemetryPack.body))
        with _answering(), self._database.read() as session:
            found = session.execute(select(TelemetryPack.site_id, size).group_by(TelemetryPack.site_id)).all()
        return {site: int(held) for site, held in found}

    def thin(self, site_id: str) -> int:
        """Drop every second pack of the older half of a site; how many that was."""
        mine = select(TelemetryPack.id).where(TelemetryPack.site_id == site_id)
        with _answering(), self._database.write() as session:
            held = list(session.scalars(mine.order_by(TelemetryPack.day, TelemetryPack.id)))
            victims = held[: max(2, len(held) // 2)][::2] if len(held) > 1 else []
            for first in range(0, len(victims), 500):
                part = victims[first : first + 500]
                session.execute(delete(TelemetryPack).where(TelemetryPack.id.in_(part)))
        return len(victims)


class LakeKeeper:
    """Looks after the fleet's lake in a thread of its own while the dashboard serves.

    Args:
        database: open; stays the caller's.
        clock: time of the sites; a day is over by it.
        lake: folder; made if it is not there.
        max_mib: room of each site, Parquet and what waits together.
    """

    def __init__(self, database: Database, clock: Clock, lake: Path, max_mib: int) -> None:
        self._packs = PackTable(database)
        self._clock = clock
        self._lake = lake
        self._max_bytes = max_mib * _MIB
        self._stop = threading.Event()
        self._said: str | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Tidy now and every ten minutes until the end of the block."""
        thread = threading.Thread(target=self._run, name="lake", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(timeout=30.0)

    def tidy(self) -> None:
        """Pack what is over and make room. What goes wrong is logged once while it stays the same."""
        problem: str | None = None
        try:
            found = pack_finished(self._packs, self._lake, self._clock.now()).problems
            problem = "; ".join(found[:5]) or None
        except ModuleNotFoundError:
            problem = "pyarrow is not installed; get it with: pip install 'hashmargin[lake]'"
        except (StoreError, DataError) as error:
            problem = str(error)
        try:
            self._make_room()
        except StoreError as error:
            problem = str(error)
        if problem is not None and problem != self._said:
            _log.error("lake: not all telemetry becomes Parquet: %s", problem)
        self._said = problem

    def _make_room(self) -> None:
        for site, waiting in self._sites().items():
            gone = trim(self._lake, site, max(self._max_bytes - waiting, 0))
            left = self._max_bytes - lake_bytes(self._lake, site)
            dropped = 0
            while self._packs.sizes().get(site, 0) > left:
                thinned = self._packs.thin(site)
                dropped += thinned
                if not thinned:
                    break
            if gone or dropped:
                _log.warning(
                    "lake: site %s is over %d MiB: %d days removed, %d of the oldest moments thinned out",
                    site,
                    self._max_bytes // _MIB,
                    len(gone),
                    dropped,
                )

    def _sites(self) -> dict[str, int]:
        folders = {folder.name.removeprefix("site=") for folder in self._lake.glob("date=*/site=*")}
        return dict.fromkeys(sorted(folders), 0) | self._packs.sizes()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.tidy()
            self._stop.wait(TIDY_EVERY_S)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise StoreError(f"the database does not answer: {error.orig}") from error
