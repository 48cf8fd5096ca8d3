"""Where a person's yes or no becomes a decision that the site fetches.

Who the person is, `dashboard.people` settles before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from agent.clock import Clock
from agent.records import Decision
from dashboard.audit import record_audit
from dashboard.database import Database
from dashboard.errors import Conflict, DashboardError, NotFound
from dashboard.schema import DecisionRow, RecommendationRow, Site

Verdict = Literal["approved", "rejected"]
MAX_DECISIONS = 200
MAX_NOTE = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one wish: the decision, or why it was refused."""

    site_id: str
    recommendation_id: str
    decision: Decision | None
    refusal: DashboardError | None


def decide(
    database: Database,
    clock: Clock,
    wall: Clock,
    *,
    site_id: str,
    recommendation_id: str,
    verdict: Verdict,
    by: str,
    note: str | None,
) -> Decision:
    """Approve or reject one recommendation, with its audit row, in one transaction.

    Raises:
        NotFound: there is no such recommendation.
        Conflict: it is decided, expired, or no longer proposed. The first decision stands.
    """
    now = clock.now()
    with database.write() as session:
        site = session.get(Site, site_id, with_for_update=True)
        row = session.get(RecommendationRow, (site_id, recommendation_id))
        if site is None or row is None:
            raise NotFound(f"there is no recommendation {recommendation_id} at site {site_id}")
        _refuse_unless_open(session, row, now)
        site.decision_seq += 1
        decided = DecisionRow(
            site_id=site_id,
            seq=site.decision_seq,
            recommendation_id=recommendation_id,
            verdict=verdict,
            by=by,
            at=now,
            note=note,
        )
        session.add(decided)
        detail = {"proposed": row.body["proposed"], "current": row.body["current"], "seq": decided.seq}
        if note is not None:
            detail["note"] = note
        record_audit(session, wall, by, verdict, detail, site_id=site_id, subject=recommendation_id)
    return _decision(decided)


def decide_several(
    database: Database,
    clock: Clock,
    wall: Clock,
    *,
    wishes: list[tuple[str, str]],
    verdict: Verdict,
    by: str,
    note: str | None,
) -> list[Outcome]:
    """Decide each (site_id, recommendation_id) on its own: one that is refused does not hold up the rest."""
    outcomes = []
    for site_id, recommendation_id in wishes:
        try:
            decision = decide(
                database,
                clock,
                wall,
                site_id=site_id,
                recommendation_id=recommendation_id,
                verdict=verdict,
                by=by,
                note=note,
            )
            outcomes.append(Outcome(site_id, recommendation_id, decision, None))
        except (NotFound, Conflict) as refusal:
            outcomes.append(Outcome(site_id, recommendation_id, None, refusal))
    return outcomes


def decisions_after(database: Database, site_id: str, after: int) -> tuple[list[Decision], int]:
    """The next decisions of a site above `after`, oldest first, and the number of its last one."""
    with database.read() as session:
        last = session.scalar(select(Site.decision_seq).where(Site.id == site_id)) or 0
        rows = session.scalars(
            select(DecisionRow)
            .where(DecisionRow.site_id == site_id, DecisionRow.seq > after)
            .order_by(DecisionRow.seq)
            .limit(MAX_DECISIONS)
        )
        return [_decision(row) for row in rows], last


def _refuse_unless_open(session: Session, row: RecommendationRow, now: datetime) -> None:
    earlier = session.scalar(
        select(DecisionRow).where(DecisionRow.site_id == row.site_id, DecisionRow.recommendation_id == row.id)
    )
    if earlier is not None:
        raise Conflict(f"{earlier.by} has {earlier.verdict} this already", "already_decided")
    if row.status != "proposed":
        raise Conflict(f"it is {row.status.replace('_', ' ')} and no longer open", "not_proposed")
    if row.expires_at <= now:
        raise Conflict("it has expired; the site proposes anew when it still pays", "expired")


def _decision(row: DecisionRow) -> Decision:
    return Decision(
        seq=row.seq,
        recommendation_id=row.recommendation_id,
        verdict=row.verdict,
        by=row.by,
        at=row.at,
        note=row.note,
    )
