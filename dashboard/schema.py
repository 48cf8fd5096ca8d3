"""The tables of the fleet database, portable between SQLite and PostgreSQL.

`records` is the log of everything sites delivered; the other site tables are the present state that
pages read, derived from it. Opening, versions and transactions are left to `dashboard.database`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 1
_Id = String(128)
# SQLite counts rows by itself only in a column declared INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A moment. Stored in UTC, always read back with its zone, also where the database keeps none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without a zone where the database has no type for one."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Back to an aware UTC time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Root of the mapped tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime, dict[str, Any]: JSON}


class SchemaVersion(Table):
    """One row: the version of this layout."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime]


class Site(Table):
    """One mining site that may deliver. `decision_seq` is the last number given to a decision for it."""

    __tablename__ = "sites"
    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    name: Mapped[str | None] = mapped_column(Text)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    heard_at: Mapped[datetime | None]
    decision_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    summary_id: Mapped[int | None] = mapped_column(BigInteger)


class StoredRecord(Table):
    """One delivered record, kept once however often it was sent."""

    __tablename__ = "records"
    __table_args__ = (UniqueConstraint("site_id", "kind", "key"),)
    id: Mapped[int] = mapped_column(_RowId, primary_key=True)
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"))
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(_Id)
    seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    body: Mapped[dict[str, Any]]


class TelemetryPack(Table):
    """Readings of one site and UTC day that wait to become a part of the lake."""

    __tablename__ = "telemetry_packs"
    # Numbers name files of the lake, so none may come back after its row is gone.
    __table_args__ = (Index(None, "day", "site_id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(_RowId, primary_key=True)
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"))
    day: Mapped[str] = mapped_column(String(10))
    body: Mapped[bytes] = mapped_column(LargeBinary)


class SummaryRow(Table):
    """The totals of one site at one moment: what charts and the overview are drawn from."""

    __tablename__ = "summaries"
    __table_args__ = (Index(None, "site_id", "at"),)
    id: Mapped[int] = mapped_column(_RowId, primary_key=True)
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"))
    seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    cycle: Mapped[int] = mapped_column(BigInteger)
    agent_version: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(Text)
    model_is_fallback: Mapped[bool]
    hashprice_usd_per_ths_day: Mapped[float | None]
    price_usd_per_kwh: Mapped[float | None]
    miners_total: Mapped[int] = mapped_column(BigInteger)
    miners_reachable: Mapped[int] = mapped_column(BigInteger)
    hashrate_ths: Mapped[float]
    power_w: Mapped[float]
    power_estimated_share: Mapped[float]
    profit_usd_per_day: Mapped[float | None]
    profit_nominal_usd_per_day: Mapped[float | None]
    profit_recommended_usd_per_day: Mapped[float | None]


class MinerRow(Table):
    """The latest line of one miner; the lines of a site are replaced together by each newer summary."""

    __tablename__ = "miners"
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"), primary_key=True)
    miner_id: Mapped[str] = mapped_column(_Id, primary_key=True)
    position: Mapped[int]
    at: Mapped[datetime]
    line: Mapped[dict[str, Any]]


class RecommendationRow(Table):
    """The latest version of one recommendation: the one with the highest `seq`."""

    __tablename__ = "recommendations"
    __table_args__ = (Index(None, "site_id", "miner_id"), Index(None, "status", "at"))
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"), primary_key=True)
    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    miner_id: Mapped[str] = mapped_column(_Id)
    type: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
    expires_at: Mapped[datetime]
    gain_usd_per_day: Mapped[float]
    body: Mapped[dict[str, Any]]


class ActRow(Table):
    """The latest version of one act: a row of the ledger, kept for ever."""

    __tablename__ = "acts"
    __table_args__ = (Index(None, "site_id", "recommendation_id"), Index(None, "intended_at"))
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"), primary_key=True)
    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    recommendation_id: Mapped[str | None] = mapped_column(_Id)
    miner_id: Mapped[str] = mapped_column(_Id)
    status: Mapped[str] = mapped_column(String(16))
    intended_at: Mapped[datetime]
    body: Mapped[dict[str, Any]]


class AlertRow(Table):
    """The latest word on one alert of a site."""

    __tablename__ = "alerts"
    __table_args__ = (Index(None, "cleared", "at"),)
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"), primary_key=True)
    key: Mapped[str] = mapped_column(_Id, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    reported_at: Mapped[datetime]
    severity: Mapped[str] = mapped_column(String(16))
    cleared: Mapped[bool]
    body: Mapped[dict[str, Any]]


class DecisionRow(Table):
    """What a person decided; at most one per recommendation, numbered without gaps per site."""

    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("site_id", "recommendation_id"),
        ForeignKeyConstraint(
            ["site_id", "recommendation_id"], ["recommendations.site_id", "recommendations.id"]
        ),
    )
    site_id: Mapped[str] = mapped_column(_Id, ForeignKey("sites.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    recommendation_id: Mapped[str] = mapped_column(_Id)
    verdict: Mapped[str] = mapped_column(String(16))
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime]
    note: Mapped[str | None] = mapped_column(Text)


class Operator(Table):
    """A person who may sign in. `password_hash` is the text of `dashboard.secrecy.hash_password`."""

    __tablename__ = "operators"
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    password_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class SignIn(Table):
    """A session of an operator; only the hash of its cookie is kept. `notice` is shown once, then gone."""

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    operator: Mapped[str] = mapped_column(String(100), ForeignKey("operators.name"))
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    notice: Mapped[dict[str, Any] | None]


class FailedSignIn(Table):
    """One failed attempt to sign in, for throttling; swept when it no longer counts."""

    __tablename__ = "failed_sign_ins"
    __table_args__ = (Index(None, "address", "at"),)
    id: Mapped[int] = mapped_column(_RowId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    address: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


class AuditRow(Table):
    """Who did what, when. Rows are only ever added. `at` is wall time."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(_RowId, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(64))
    site_id: Mapped[str | None] = mapped_column(_Id)
    subject: Mapped[str | None] = mapped_column(_Id)
    detail: Mapped[dict[str, Any]]
