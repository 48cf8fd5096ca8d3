"""The agent's own record of telemetry: a SQLite file of packed rows, by day, until they are in the lake.

Durable before a call returns. Each call opens the file anew, so that any thread may make it.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from agent.errors import StoreError
from agent.lake.rows import Rows, pack

JOURNAL = "telemetry.sqlite3"
_SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE packs (id INTEGER PRIMARY KEY AUTOINCREMENT, day TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX packs_by_day ON packs (day, id)",
)


class Journal:
    """One site's packs.

    Args:
        path: the file; its folder must exist. A file that is damaged is set aside, never deleted.
        site_id: whose rows it holds; a file of another site is refused.
        now: for the name of a file that is set aside.

    Raises:
        StoreError: on creation and from every method, when the file cannot be used.

    Attributes:
        epoch: drawn when the file is made; tells its numbers from those of an earlier file.
        damage: words about a file that was set aside, else None.
    """

    def __init__(self, path: Path, site_id: str, now: datetime) -> None:
        self.path = path
        self.site_id = site_id
        self.damage: str | None = None
        try:
            self.epoch = self._prepare()
        except _Damaged as damaged:
            aside = path.with_name(f"{path.name}.corrupt-{now.strftime('%Y%m%dT%H%M%S')}")
            try:
                for suffix in ("", "-wal", "-shm"):
                    part = path.with_name(path.name + suffix)
                    if part.exists():
                        part.rename(aside.with_name(aside.name + suffix))
            except OSError as error:
                raise StoreError(f"{path}: is damaged and cannot be set aside: {error.strerror}") from error
            self.damage = f"{path} was damaged ({damaged}) and set aside as {aside.name}"
            self.epoch = self._prepare()

    def record(self, rows: Rows, at: datetime) -> None:
        """Keep the rows of one moment, each under the UTC day of its reading."""
        packs = [
            (day.isoformat(), pack(part)) for day, whole in rows.by_day().items() for part in whole.in_packs()
        ]
        with self._transaction() as db:
            db.executemany("INSERT INTO packs (day, body) VALUES (?, ?)", packs)
            db.execute("REPLACE INTO meta VALUES ('recorded_at', ?)", (at.astimezone(UTC).isoformat(),))

    def recorded_at(self) -> datetime | None:
        """The moment that was recorded last."""
        with self._transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'recorded_at'").fetchone()
        return None if row is None else datetime.fromisoformat(row[0])

    def days(self) -> list[tuple[str, date]]:
        """Sites and days that packs are held of, oldest first."""
        with self._transaction() as db:
            found = db.execute("SELECT DISTINCT day FROM packs ORDER BY day").fetchall()
        return [(self.site_id, date.fromisoformat(day)) for (day,) in found]

    def packs(self, _site_id: str, day: date) -> list[tuple[int, bytes]]:
        """Number and body of each pack of a day, by rising number."""
        with self._transaction() as db:
            found = db.execute("SELECT id, body FROM packs WHERE day = ? ORDER BY id", (day.isoformat(),))
            return [(int(number), bytes(body)) for number, body in found]

    def forget(self, _site_id: str, day: date, up_to: int) -> None:
        """Drop the packs of a day up to a number: they are in the lake."""
        with self._transaction() as db:
            db.execute("DELETE FROM packs WHERE day = ? AND id <= ?", (day.isoformat(), up_to))

    def size(self) -> int:
        """Bytes of what is held."""
        with self._transaction() as db:
            return int(db.execute("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM packs").fetchone()[0])

    def thin(self, max_bytes: int) -> int:
        """Above a size drop every second pack of the older half, again and again.

        Returns:
            How many packs were dropped.
        """
        dropped = 0
        while self.size() > max_bytes:
            with self._transaction() as db:
                held = [number for (number,) in db.execute("SELECT id FROM packs ORDER BY day, id")]
                if len(held) < 2:
                    break
                victims = held[: max(2, len(held) // 2)][::2]
                db.executemany("DELETE FROM packs WHERE id = ?", [(number,) for number in victims])
            dropped += len(victims)
        return dropped

    def _prepare(self) -> str:
        with self._transaction() as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "meta" not in tables:
                for statement in _SCHEMA:
                    db.execute(statement)
                made = {"schema": str(_SCHEMA_VERSION), "site": self.site_id, "epoch": secrets.token_hex(4)}
                db.executemany("INSERT INTO meta VALUES (?, ?)", made.items())
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        if meta.get("schema") != str(_SCHEMA_VERSION):
            raise StoreError(
                f"{self.path}: made by another version of hashmargin (schema {meta.get('schema')})"
            )
        if meta.get("site") != self.site_id:
            raise StoreError(f"{self.path}: belongs to site {meta.get('site')!r}, not {self.site_id!r}")
        self.path.chmod(0o600)
        return str(meta["epoch"])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=10.0, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise _Damaged(f"{self.path}: {error}") from error
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error


class _Damaged(StoreError):
    """The file is not a database, or its pages are spoilt."""


def journal_site(path: Path) -> str:
    """Whose packs a journal file holds.

    Raises:
        StoreError: there is no such file, or it is not a journal.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; an agent with `lake:` in its site file makes one")
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'site'").fetchone()
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: is not a journal of telemetry: {error}") from error
    if row is None:
        raise StoreError(f"{path}: is not a journal of telemetry")
    return str(row[0])
