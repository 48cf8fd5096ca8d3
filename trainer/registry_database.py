"""The registry's SQLite file: its schema, opening it with checks, transactions, words for what is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.errors import StoreError

DATABASE = "registry.sqlite3"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE experiments (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, who TEXT NOT NULL, parameters TEXT NOT NULL,
    data_span TEXT NOT NULL, code_version TEXT NOT NULL, git_commit TEXT, library_versions TEXT NOT NULL,
    metrics TEXT NOT NULL, bundle_id TEXT NOT NULL
);
CREATE TABLE artefacts (
    experiment_id TEXT NOT NULL REFERENCES experiments (id), name TEXT NOT NULL, sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, PRIMARY KEY (experiment_id, name)
);
CREATE TABLE bundles (
    bundle_id TEXT PRIMARY KEY, added_at TEXT NOT NULL, stage TEXT NOT NULL, was_stable INTEGER NOT NULL
);
CREATE TABLE deployments (
    site TEXT NOT NULL, stage TEXT NOT NULL, bundle_id TEXT NOT NULL REFERENCES bundles (bundle_id),
    since TEXT NOT NULL, PRIMARY KEY (site, stage)
);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, bundle_id TEXT NOT NULL,
    from_stage TEXT, to_stage TEXT NOT NULL, sites TEXT NOT NULL, reason TEXT NOT NULL,
    forced INTEGER NOT NULL
);
"""


class RegistryDatabase:
    """One open file.

    Args:
        root: folder of the registry, which holds it.
        create: make its tables where there are none; the caller holds the registry against other writers.

    Raises:
        StoreError: on creation and from every method, when the file cannot be used.
    """

    def __init__(self, root: Path, *, create: bool) -> None:
        self._root = root
        self._file = root / DATABASE
        if not create and not self._file.is_file():
            raise StoreError(f"{root}: holds no registry; `hashmargin train --registry {root}` makes one")
        try:
            self._db = sqlite3.connect(self._file, timeout=10.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
        except sqlite3.Error as error:
            raise self._broken(error) from error
        if create:
            self._make()
        self._check()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _make(self) -> None:
        with self.transaction():
            if not self.run("SELECT name FROM sqlite_master LIMIT 1").fetchone():
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self.run(statement)
                self.run("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))

    def _check(self) -> None:
        try:
            quick = self.rows("PRAGMA quick_check(1)")
            version = self.rows("SELECT value FROM meta WHERE key='schema_version'")
        except StoreError:
            self._db.close()
            raise
        if quick != [("ok",)]:
            self._db.close()
            raise self._broken(quick[0][0] if quick else "no answer")
        if version != [(str(SCHEMA_VERSION),)]:
            self._db.close()
            got = version[0][0] if version else "none"
            raise StoreError(
                f"{self._file}: has schema {got}, this version reads {SCHEMA_VERSION}; "
                "use the hashmargin that wrote it, or a newer one"
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is run inside, or nothing of it."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement inside a `transaction`, which words what goes wrong."""
        return self._db.execute(statement, values)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """What a query finds."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def _broken(self, error: object) -> StoreError:
        return StoreError(
            f"{self._file}: cannot be used: {error}. Restore it from a backup, or move it away and add the "
            f"bundles again: hashmargin models add {self._root}/bundles/ID --registry {self._root}"
        )
