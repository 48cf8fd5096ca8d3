"""Opens the fleet database and hands out transactions. The one place that knows it may be SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from agent.clock import SystemClock
from agent.errors import StoreError
from dashboard.schema import SCHEMA_VERSION, SchemaVersion, Table

BUSY_TIMEOUT_S = 10.0


class Database:
    """A fleet database that is open and of the layout this code was written for.

    Args:
        engine: as made by `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view. Nothing done in it is kept."""
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: kept whole on a clean exit, undone whole on any exception."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def is_ready(self) -> bool:
        """Whether the database answers and has the expected layout."""
        try:
            with self.read() as session:
                return session.scalar(select(SchemaVersion.version)) == SCHEMA_VERSION
        except DatabaseError:
            return False

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def open_database(path: Path, *, create: bool = True) -> Database:
    """Open the SQLite file at `path`, laid out first if it is new. It is readable by its owner only.

    Raises:
        StoreError: it cannot be opened, is not a database, or has another version's layout.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        elif not path.is_file():
            raise StoreError(f"{path}: no such database; 'hashmargin dashboard add-site' makes one")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    try:
        _lay_out(engine, str(path))
    except DatabaseError as error:
        engine.dispose()
        raise StoreError(f"{path}: {error.orig}") from error
    except StoreError:
        engine.dispose()
        raise
    return Database(engine)


def _lay_out(engine: Engine, where: str) -> None:
    with engine.execution_options(writes=True).begin() as connection:
        new = not inspect(connection).has_table(SchemaVersion.__tablename__)
        if new and inspect(connection).get_table_names():
            raise StoreError(f"{where}: is a database of something else")
        # A table that a later version brings is added to a database that is there; nothing else changes.
        Table.metadata.create_all(connection)
        if new:
            connection.execute(
                SchemaVersion.__table__.insert().values(  # type: ignore[attr-defined]
                    version=SCHEMA_VERSION, created_at=SystemClock().now()
                )
            )
        found = connection.scalar(select(SchemaVersion.version))
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"{where}: has layout version {found}, this hashmargin needs {SCHEMA_VERSION}; use the version "
            "that wrote it, or start with a new file"
        )


def _sqlite_connect(dbapi_connection: Any, _record: object) -> None:
    # The driver's own transaction handling starts them too late; `_sqlite_begin` does it instead.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock at once: upgrading a read lock later fails without waiting.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
