"""The agent's SQLite file: recommendations, acts (journal and ledger), decisions, outbox and state.

Everything is durable before the call returns. A file that cannot be read is set aside, never deleted.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.errors import StoreError
from agent.records import Act, Alert, Decision, Envelope, Recommendation, Summary, TelemetryRecord

# The file's name inside a site's state folder.
DATABASE = "agent.sqlite3"
SCHEMA_VERSION = 1
OUTBOX_MAX_BYTES = 64 * 1024 * 1024
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE recommendations (
    id TEXT PRIMARY KEY, miner_id TEXT NOT NULL, status TEXT NOT NULL, timestamp TEXT NOT NULL,
    version INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX recommendations_by_status ON recommendations (status, miner_id);
CREATE TABLE acts (
    id TEXT PRIMARY KEY, miner_id TEXT NOT NULL, status TEXT NOT NULL, intended_at TEXT NOT NULL,
    version INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX acts_by_status ON acts (status);
CREATE INDEX acts_by_time ON acts (intended_at);
CREATE TABLE decisions (
    recommendation_id TEXT PRIMARY KEY, origin TEXT NOT NULL, taken INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL
);
CREATE TABLE alerts (key TEXT PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
    body TEXT NOT NULL, refused TEXT
);
CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class Store:
    """One site's database. Use from one thread; several processes may open the same file.

    Args:
        path: the file; its folder must exist.
        site_id: whose data it holds; a file of another site is refused.

    Raises:
        StoreError: on creation and from every method, when the file cannot be used.
    """

    def __init__(self, path: Path, site_id: str) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=10.0, isolation_level=None)
            path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: cannot be opened: {error}") from error
        try:
            self._prepare(site_id)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- recommendations -------------------------------------------------------------------------

    def put_recommendation(self, recommendation: Recommendation) -> None:
        """Insert or replace by id, and queue the new version for the dashboard."""
        with self._transaction():
            self._put("recommendations", "recommendation", recommendation.id, recommendation)

    def recommendation(self, identifier: str) -> Recommendation | None:
        """The recommendation of that id, or None."""
        rows = self._rows("SELECT body FROM recommendations WHERE id = ?", identifier)
        return _load(Recommendation, rows[0][0]) if rows else None

    def recommendations(self, *statuses: str, limit: int = -1) -> list[Recommendation]:
        """Newest first; all statuses where none is named, and all rows where there is no limit."""
        marks = ",".join("?" * len(statuses))
        where = f"WHERE status IN ({marks})" if statuses else ""
        rows = self._rows(
            f"SELECT body FROM recommendations {where} ORDER BY timestamp DESC, id LIMIT ?",  # noqa: S608
            *statuses,
            limit,
        )
        return [_load(Recommendation, body) for (body,) in rows]

    # -- acts: the journal while open, the ledger for ever ---------------------------------------

    def put_act(self, act: Act) -> None:
        """Insert or replace by id, fsynced, and queue the new version for the dashboard."""
        with self._transaction():
            self._put("acts", "act", act.id, act)

    def act(self, identifier: str) -> Act | None:
        """The act of that id, or None."""
        rows = self._rows("SELECT body FROM acts WHERE id = ?", identifier)
        return _load(Act, rows[0][0]) if rows else None

    def open_acts(self) -> list[Act]:
        """Acts that are not settled, oldest first."""
        rows = self._rows(
            "SELECT body FROM acts WHERE status IN ('intended', 'sent') ORDER BY intended_at, id"
        )
        return [_load(Act, body) for (body,) in rows]

    def acts(self, since: datetime | None = None, limit: int = 1000) -> list[Act]:
        """Newest first."""
        rows = self._rows(
            "SELECT body FROM acts WHERE intended_at >= ? ORDER BY intended_at DESC, id LIMIT ?",
            _stamp(since) if since is not None else "",
            limit,
        )
        return [_load(Act, body) for (body,) in rows]

    # -- decisions of people ---------------------------------------------------------------------

    def put_decision(self, decision: Decision, origin: str) -> bool:
        """Keep a decision; the first one on a recommendation stands. True if this was the first."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO decisions (recommendation_id, origin, body) VALUES (?, ?, ?)",
                (decision.recommendation_id, origin, decision.model_dump_json()),
            )
            return cursor.rowcount == 1

    def new_decisions(self) -> list[Decision]:
        """Decisions that have not been taken up yet."""
        rows = self._rows("SELECT body FROM decisions WHERE taken = 0 ORDER BY recommendation_id")
        return [_load(Decision, body) for (body,) in rows]

    def decision_taken(self, recommendation_id: str) -> None:
        """Mark a decision as taken up."""
        with self._transaction():
            self._db.execute(
                "UPDATE decisions SET taken = 1 WHERE recommendation_id = ?", (recommendation_id,)
            )

    # -- alerts and summaries --------------------------------------------------------------------

    def put_alert(self, alert: Alert) -> bool:
        """Raise or clear an alert. Says it once: True only if it changed what was known."""
        old = self._rows("SELECT body FROM alerts WHERE key = ?", alert.key)
        before = _load(Alert, old[0][0]) if old else None
        if before is None and alert.cleared:
            return False
        if before is not None and (before.cleared, before.text) == (alert.cleared, alert.text):
            return False
        with self._transaction():
            version = self._version("alerts", "key", alert.key)
            body = alert.model_dump_json()
            self._db.execute(
                "REPLACE INTO alerts (key, version, body) VALUES (?, ?, ?)", (alert.key, version, body)
            )
            self._queue("alert", f"{alert.key}.v{version}", alert.at, body)
        return True

    def alerts(self) -> list[Alert]:
        """Alerts that are still open."""
        found = [_load(Alert, body) for (body,) in self._rows("SELECT body FROM alerts ORDER BY key")]
        return [alert for alert in found if not alert.cleared]

    def put_summary(self, summary: Summary) -> None:
        """Keep as the latest for `hashmargin status`, and queue it for the dashboard."""
        body = summary.model_dump_json()
        with self._transaction():
            self._db.execute("REPLACE INTO state (name, value) VALUES ('summary', ?)", (body.encode(),))
            self._queue("summary", f"summary-{_stamp(summary.at)}", summary.at, body)

    def put_telemetry(self, record: TelemetryRecord) -> None:
        """Queue readings for the dashboard's lake."""
        with self._transaction():
            key = f"telemetry-{_stamp(record.at)}.{record.part}"
            self._queue("telemetry", key, record.at, record.model_dump_json())

    def latest_summary(self) -> Summary | None:
        """The last summary, or None before the first cycle."""
        value = self.state("summary")
        return _load(Summary, value.decode()) if value is not None else None

    # -- outbox ----------------------------------------------------------------------------------

    def pending(self, limit: int) -> list[Envelope]:
        """The oldest queued records, in order."""
        rows = self._rows(
            "SELECT seq, kind, key, at, body FROM outbox WHERE refused IS NULL ORDER BY seq LIMIT ?", limit
        )
        return [
            Envelope.model_validate(
                {"seq": seq, "kind": kind, "key": key, "at": at, "body": json.loads(body)}
            )
            for seq, kind, key, at, body in rows
        ]

    def acknowledge(self, seq: int) -> None:
        """Forget everything up to `seq`; the centre has it."""
        with self._transaction():
            self._db.execute("DELETE FROM outbox WHERE seq <= ? AND refused IS NULL", (seq,))

    def quarantine(self, seq: int, reason: str) -> None:
        """Keep a record that the centre refuses, out of the way of the rest."""
        with self._transaction():
            self._db.execute("UPDATE outbox SET refused = ? WHERE seq = ?", (reason[:500], seq))

    def decisions_after(self) -> int:
        """Sequence number of the last decision fetched from the centre."""
        rows = self._rows("SELECT value FROM meta WHERE key = 'decisions_after'")
        return int(rows[0][0]) if rows else 0

    def store_decisions(self, decisions: list[Decision]) -> None:
        """Keep decisions from the centre and remember how far they go, in one transaction."""
        if not decisions:
            return
        with self._transaction():
            for decision in decisions:
                self._db.execute(
                    "INSERT OR IGNORE INTO decisions (recommendation_id, origin, body) "
                    "VALUES (?, 'dashboard', ?)",
                    (decision.recommendation_id, decision.model_dump_json()),
                )
            last = str(max(decision.seq for decision in decisions))
            self._db.execute("REPLACE INTO meta (key, value) VALUES ('decisions_after', ?)", (last,))

    def outbox_bytes(self) -> int:
        """Size of what waits for the dashboard."""
        rows = self._rows("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM outbox")
        return int(rows[0][0])

    def thin_outbox(self, max_bytes: int = OUTBOX_MAX_BYTES) -> int:
        """Under a byte cap drop every second of the oldest readings, then of the summaries.

        Acts, recommendations, alerts and decisions stay.

        Returns:
            How many were dropped.
        """
        dropped = 0
        for kind in ("telemetry", "summary"):
            while self.outbox_bytes() > max_bytes:
                rows = self._rows("SELECT seq FROM outbox WHERE kind = ? ORDER BY seq LIMIT 2000", kind)
                if len(rows) < 2:
                    break
                victims = [(seq,) for (seq,) in rows[: max(2, len(rows) // 2)][::2]]
                with self._transaction():
                    self._db.executemany("DELETE FROM outbox WHERE seq = ?", victims)
                dropped += len(victims)
        return dropped

    # -- state -----------------------------------------------------------------------------------

    def state(self, name: str) -> bytes | None:
        """A named blob, or None."""
        rows = self._rows("SELECT value FROM state WHERE name = ?", name)
        return bytes(rows[0][0]) if rows else None

    def put_state(self, name: str, value: bytes) -> None:
        """Keep a named blob."""
        with self._transaction():
            self._db.execute("REPLACE INTO state (name, value) VALUES (?, ?)", (name, value))

    # -- inside ----------------------------------------------------------------------------------

    def _prepare(self, site_id: str) -> None:
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            tables = {
                name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: cannot be read: {error}") from error
        with self._transaction():
            if "meta" not in tables:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
                self._db.execute("INSERT INTO meta VALUES ('site_id', ?)", (site_id,))
                # A store that starts afresh must not reuse keys that the centre has seen.
                self._db.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(4),))
        meta = dict(self._rows("SELECT key, value FROM meta"))
        if meta.get("schema_version") != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.path}: made by another version (schema {meta.get('schema_version')}, "
                f"this one reads {SCHEMA_VERSION})"
            )
        if meta.get("site_id") != site_id:
            raise StoreError(f"{self.path}: belongs to site {meta.get('site_id')!r}, not {site_id!r}")
        self._epoch = meta["epoch"]

    def _put(self, table: str, kind: str, identifier: str, record: Recommendation | Act) -> None:
        version = self._version(table, "id", identifier)
        body = record.model_dump_json()
        moment = record.timestamp if isinstance(record, Recommendation) else record.intended_at
        time_column = "timestamp" if isinstance(record, Recommendation) else "intended_at"
        self._db.execute(
            f"REPLACE INTO {table} (id, miner_id, status, {time_column}, version, body) "  # noqa: S608
            "VALUES (?, ?, ?, ?, ?, ?)",
            (identifier, record.miner_id, record.status, _stamp(moment), version, body),
        )
        self._queue(kind, f"{identifier}.v{version}", moment, body)

    def _version(self, table: str, column: str, identifier: str) -> int:
        rows = self._rows(f"SELECT version FROM {table} WHERE {column} = ?", identifier)  # noqa: S608
        return int(rows[0][0]) + 1 if rows else 1

    def _queue(self, kind: str, key: str, at: datetime, body: str) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO outbox (kind, key, at, body) VALUES (?, ?, ?, ?)",
            (kind, f"{self._epoch}.{key}", _stamp(at), body),
        )

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        try:
            with closing(self._db.execute(sql, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep everything that is put inside, or nothing of it. Nothing may be awaited inside.

        Raises:
            StoreError: it could not be kept.
        """
        with self._transaction():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:
            # Inside `together`: the outer one decides what is kept.
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"{self.path}: {error}; nothing of this change was kept") from error
            raise


def open_store(path: Path, site_id: str, now: datetime) -> tuple[Store, str | None]:
    """Open the database, setting a corrupt file aside first.

    Returns:
        The store, and words for an alert where a corrupt file was set aside.

    Raises:
        StoreError: the folder cannot be used, or the file belongs to another site or version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise StoreError(f"{path.parent}: cannot be created: {error.strerror}") from error
    problem = _damage(path)
    if problem is None:
        return Store(path, site_id), None
    aside = path.with_name(f"{path.name}.corrupt-{now.strftime('%Y%m%dT%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return Store(path, site_id), f"{path} was damaged ({problem}) and set aside as {aside.name}"


def _damage(path: Path) -> str | None:
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else str(verdict)


def _load(model: type[Any], body: str) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise StoreError(f"a stored {model.__name__} cannot be read: {error.errors()[0]['msg']}") from error


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
