"""Stores what sites deliver: checks a batch whole, keeps each record once, updates the present state.

HTTP (token, size, media type) is left to `dashboard.api`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from agent.clock import Clock
from agent.errors import DataError
from agent.lake.rows import Rows, pack, unpack
from agent.records import (
    RECORD_MODELS,
    Act,
    Alert,
    Batch,
    BatchReply,
    Envelope,
    Recommendation,
    Record,
    Summary,
    TelemetryRecord,
)
from dashboard.database import Database
from dashboard.errors import Invalid, NotFound
from dashboard.portable import moment, plain
from dashboard.schema import (
    ActRow,
    AlertRow,
    MinerRow,
    RecommendationRow,
    Site,
    StoredRecord,
    SummaryRow,
    TelemetryPack,
)

_MAX_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Delivered:
    """One checked record: the envelope, its typed body, the body as plain JSON, readings that it carries."""

    envelope: Envelope
    at: datetime
    record: Record
    body: dict[str, Any]
    readings: Rows | None = None


def check_batch(site_id: str, raw: bytes) -> list[Delivered]:
    """Parse and check a batch down to the last body.

    Raises:
        Invalid: any part does not follow the contract; nothing of it may be stored then.
    """
    try:
        batch = Batch.model_validate_json(raw)
    except ValidationError as error:
        raise Invalid(_first_problem(error), "invalid_batch") from error
    return [_check(site_id, i, envelope) for i, envelope in enumerate(batch.records)]


def store_batch(database: Database, clock: Clock, site_id: str, delivered: list[Delivered]) -> BatchReply:
    """Store a checked batch in one transaction. Records that are there already count as duplicates.

    Raises:
        NotFound: the site is gone.
    """
    now = clock.now()
    with database.write() as session:
        # The lock on the site's row puts batches and decisions of one site in a row on every database.
        site = session.get(Site, site_id, with_for_update=True)
        if site is None:
            raise NotFound(f"there is no site {site_id}")
        fresh = _not_yet_stored(session, site_id, delivered)
        for one in fresh:
            session.add(
                StoredRecord(
                    site_id=site_id,
                    kind=one.envelope.kind,
                    key=one.envelope.key,
                    seq=one.envelope.seq,
                    at=one.at,
                    received_at=now,
                    body=_kept_body(one),
                )
            )
            _bring_up_to_date(session, site, one, now)
        site.heard_at = now
    return BatchReply(
        acknowledged_seq=max(one.envelope.seq for one in delivered),
        stored=len(fresh),
        duplicates=len(delivered) - len(fresh),
    )


def _check(site_id: str, index: int, envelope: Envelope) -> Delivered:
    where = f"records.{index}"
    try:
        record = RECORD_MODELS[envelope.kind].model_validate(envelope.body)
        at = moment(envelope.at, "at")
        body = plain(record)
    except ValidationError as error:
        raise Invalid(f"{where}.body ({envelope.kind}): {_first_problem(error)}", "invalid_record") from error
    except ValueError as error:
        raise Invalid(f"{where} ({envelope.kind}): {error}", "invalid_record") from error
    if envelope.seq > _MAX_SEQ:
        raise Invalid(f"{where}.seq: is beyond 64 bits", "invalid_record")
    if body["site_id"] != site_id:
        raise Invalid(f"{where}.body.site_id: is not {site_id}", "wrong_site")
    if isinstance(record, Summary):
        ids = [line.miner_id for line in record.miners]
        if len(set(ids)) != len(ids):
            raise Invalid(f"{where}.body.miners: a miner_id stands twice", "invalid_record")
    if isinstance(record, TelemetryRecord):
        return Delivered(envelope, at, record, body, _readings(where, site_id, record))
    return Delivered(envelope, at, record, body)


def _readings(where: str, site_id: str, record: TelemetryRecord) -> Rows:
    try:
        rows = unpack(base64.b64decode(record.packed, validate=True))
    except (DataError, binascii.Error) as error:
        raise Invalid(f"{where}.body.packed: {error}"[:500], "invalid_record") from error
    if len(rows) != record.rows:
        raise Invalid(f"{where}.body.packed: holds {len(rows)} rows, not {record.rows}", "invalid_record")
    if set(rows.texts["site_id"]) != {site_id}:
        raise Invalid(f"{where}.body.packed: holds readings of another site than {site_id}", "wrong_site")
    return rows


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    words = f"{place}: {first['msg']}" if place else first["msg"]
    return f"{words[:400]} (and {more} more)" if more else words[:400]


def _not_yet_stored(session: Session, site_id: str, delivered: list[Delivered]) -> list[Delivered]:
    keys = {one.envelope.key for one in delivered}
    known = {
        (kind, key)
        for kind, key in session.execute(
            select(StoredRecord.kind, StoredRecord.key).where(
                StoredRecord.site_id == site_id, StoredRecord.key.in_(keys)
            )
        )
    }
    fresh = []
    for one in delivered:
        mark = (one.envelope.kind, one.envelope.key)
        if mark not in known:
            known.add(mark)
            fresh.append(one)
    return fresh


def _kept_body(one: Delivered) -> dict[str, Any]:
    # What is kept for ever is kept small: a summary's miner lines live on in `miners`, readings in the lake.
    if one.readings is not None:
        return one.body | {"packed": ""}
    return one.body | {"miners": []} if isinstance(one.record, Summary) else one.body


def _bring_up_to_date(session: Session, site: Site, one: Delivered, now: datetime) -> None:
    record = one.record
    if isinstance(record, Summary):
        _summary(session, site, one, record, now)
    elif isinstance(record, Recommendation):
        _recommendation(session, site, one, record)
    elif isinstance(record, Act):
        _act(session, site, one, record)
    elif isinstance(record, Alert):
        _alert(session, site, one, record)
    elif one.readings is not None:
        session.add_all(
            TelemetryPack(site_id=site.id, day=day.isoformat(), body=pack(rows))
            for day, rows in one.readings.by_day().items()
        )


def _is_older(seq: int, at: datetime, stored_seq: int, stored_at: datetime) -> bool:
    """Late if number and time agree on it.

    A site that had to start a new store counts from 1 again, and a clock may be put back; either alone
    must not freeze the site's state at what was heard before.
    """
    return seq <= stored_seq and at <= stored_at


def _summary(session: Session, site: Site, one: Delivered, record: Summary, now: datetime) -> None:
    row = SummaryRow(
        site_id=site.id,
        seq=one.envelope.seq,
        at=moment(record.at, "at"),
        received_at=now,
        **{name: one.body[name] for name in _TOTALS},
    )
    session.add(row)
    session.flush()
    latest = session.get(SummaryRow, site.summary_id) if site.summary_id is not None else None
    if latest is not None and _is_older(row.seq, row.at, latest.seq, latest.at):
        return
    site.summary_id = row.id
    site.name = record.site_name
    session.execute(delete(MinerRow).where(MinerRow.site_id == site.id))
    if record.miners:
        session.execute(
            insert(MinerRow),
            [
                {"site_id": site.id, "miner_id": line["miner_id"], "position": i, "at": row.at, "line": line}
                for i, line in enumerate(one.body["miners"])
            ],
        )


_TOTALS = (
    "cycle",
    "agent_version",
    "mode",
    "model",
    "model_is_fallback",
    "hashprice_usd_per_ths_day",
    "price_usd_per_kwh",
    "miners_total",
    "miners_reachable",
    "hashrate_ths",
    "power_w",
    "power_estimated_share",
    "profit_usd_per_day",
    "profit_nominal_usd_per_day",
    "profit_recommended_usd_per_day",
)


def _recommendation(session: Session, site: Site, one: Delivered, record: Recommendation) -> None:
    row = session.get(RecommendationRow, (site.id, record.id))
    if row is None:
        row = RecommendationRow(site_id=site.id, id=record.id)
        session.add(row)
    elif one.envelope.seq <= row.seq:
        return
    row.seq = one.envelope.seq
    row.miner_id, row.type, row.status = record.miner_id, record.type, record.status
    row.at, row.expires_at = moment(record.timestamp, "timestamp"), moment(record.expires_at, "expires_at")
    row.gain_usd_per_day = record.gain_usd_per_day.q50
    row.body = one.body


def _act(session: Session, site: Site, one: Delivered, record: Act) -> None:
    row = session.get(ActRow, (site.id, record.id))
    if row is None:
        row = ActRow(site_id=site.id, id=record.id)
        session.add(row)
    elif one.envelope.seq <= row.seq:
        return
    row.seq = one.envelope.seq
    row.recommendation_id, row.miner_id, row.status = record.recommendation_id, record.miner_id, record.status
    row.intended_at = moment(record.intended_at, "intended_at")
    row.body = one.body


def _alert(session: Session, site: Site, one: Delivered, record: Alert) -> None:
    row = session.get(AlertRow, (site.id, record.key))
    if row is None:
        row = AlertRow(site_id=site.id, key=record.key)
        session.add(row)
    elif _is_older(one.envelope.seq, one.at, row.seq, row.reported_at):
        return
    row.seq, row.reported_at = one.envelope.seq, one.at
    row.at, row.severity, row.cleared = moment(record.at, "at"), record.severity, record.cleared
    row.body = one.body
