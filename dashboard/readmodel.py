"""What pages show, read from the database in a few queries and typed. It decides and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from agent.drift import DRIFT_PREFIX
from agent.records import Act, Alert, MinerLine, Recommendation
from dashboard.charts import ProfitPoint
from dashboard.schema import (
    ActRow,
    AlertRow,
    AuditRow,
    DecisionRow,
    MinerRow,
    RecommendationRow,
    Site,
    StoredRecord,
    SummaryRow,
)

MAX_RECOMMENDATIONS = 300
MAX_ALERTS = 100
PAGE = 50
_SUMMARY_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class SiteView:
    """One site with its latest totals.

    `figures_at` is when they were true; `stale` means that they no longer count.
    """

    id: str
    name: str
    heard_at: datetime | None
    figures_at: datetime | None
    stale: bool
    summary: SummaryRow | None
    open_count: int
    open_gain_usd_per_day: float
    alerts: int
    critical: int

    @property
    def uplift_usd_per_day(self) -> float | None:
        """Profit now above always-nominal, USD per day; None while either is unknown."""
        s = self.summary
        if s is None or s.profit_usd_per_day is None or s.profit_nominal_usd_per_day is None:
            return None
        return s.profit_usd_per_day - s.profit_nominal_usd_per_day


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """Sums over the sites that are heard. Money only over those that know it, as many as `priced`."""

    sites: int
    heard: int
    priced: int
    profit_usd_per_day: float
    nominal_usd_per_day: float
    recommended_usd_per_day: float
    hashrate_ths: float
    power_w: float
    power_is_estimate: bool
    miners_total: int
    miners_reachable: int


@dataclass(frozen=True, slots=True)
class RecommendationView:
    """One recommendation, what a person decided on it here, and where it stands now.

    `state` is the agent's status, except that an open one past its time is `expired`, and one that is
    decided here and not yet taken up by the site is `approved` or `rejected` with `awaiting_site`.
    """

    site_id: str
    body: Recommendation
    decision: DecisionRow | None
    state: str
    awaiting_site: bool

    @property
    def is_open(self) -> bool:
        """Whether it can be decided."""
        return self.state == "proposed"


@dataclass(frozen=True, slots=True)
class ActView:
    """One act of the ledger."""

    site_id: str
    body: Act

    @property
    def kept_its_interval(self) -> bool | None:
        """Whether the profit that telemetry showed lay in the expected interval; None while not settled."""
        seen = self.body.observed_profit_usd_per_day
        if seen is None:
            return None
        expected = self.body.expected.profit_usd_per_day
        return expected.q10 <= seen <= expected.q90


def sites(session: Session, now: datetime, patience: timedelta, only: str | None = None) -> list[SiteView]:
    """All sites, or only one, by name. `patience` is how old figures may be before they are stale."""
    query = select(Site, SummaryRow).outerjoin(SummaryRow, SummaryRow.id == Site.summary_id)
    if only is not None:
        query = query.where(Site.id == only)
    opened = {
        site_id: (count, gain or 0.0)
        for site_id, count, gain in session.execute(
            select(RecommendationRow.site_id, func.count(), func.sum(RecommendationRow.gain_usd_per_day))
            .outerjoin(DecisionRow, _DECIDED)
            .where(*_is_open(now))
            .group_by(RecommendationRow.site_id)
        )
    }
    alerts: dict[str, dict[str, int]] = {}
    for site_id, severity, count in session.execute(
        select(AlertRow.site_id, AlertRow.severity, func.count())
        .where(AlertRow.cleared.is_(False))
        .group_by(AlertRow.site_id, AlertRow.severity)
    ):
        alerts.setdefault(site_id, {})[severity] = count
    views = []
    for site, summary in session.execute(query):
        figures_at = min(summary.at, summary.received_at) if summary is not None else None
        count, gain = opened.get(site.id, (0, 0.0))
        levels = alerts.get(site.id, {})
        views.append(
            SiteView(
                site.id,
                site.name or site.id,
                site.heard_at,
                figures_at,
                figures_at is None or now - figures_at > max(patience, _own_pace(session, site.id)),
                summary,
                count,
                gain,
                sum(levels.values()),
                levels.get("critical", 0),
            )
        )
    return sorted(views, key=lambda view: view.name.lower())


def fleet_totals(views: Sequence[SiteView]) -> FleetTotals:
    """Sum over the sites whose figures are current."""
    heard = [v.summary for v in views if v.summary is not None and not v.stale]
    priced = [
        (s.profit_usd_per_day, s.profit_nominal_usd_per_day, s.profit_recommended_usd_per_day)
        for s in heard
        if s.profit_usd_per_day is not None and s.profit_nominal_usd_per_day is not None
    ]
    return FleetTotals(
        sites=len(views),
        heard=len(heard),
        priced=len(priced),
        profit_usd_per_day=sum(now or 0.0 for now, _, _ in priced),
        nominal_usd_per_day=sum(nominal or 0.0 for _, nominal, _ in priced),
        recommended_usd_per_day=sum((now or 0.0) if best is None else best for now, _, best in priced),
        hashrate_ths=sum(s.hashrate_ths for s in heard),
        power_w=sum(s.power_w for s in heard),
        power_is_estimate=any(s.power_estimated_share > 0.0 for s in heard),
        miners_total=sum(s.miners_total for s in heard),
        miners_reachable=sum(s.miners_reachable for s in heard),
    )


def miners(session: Session, site_id: str) -> list[MinerLine]:
    """The latest line of every miner, in the site's own order."""
    lines = session.scalars(
        select(MinerRow.line).where(MinerRow.site_id == site_id).order_by(MinerRow.position)
    )
    return [MinerLine.model_validate(line) for line in lines]


def miner(session: Session, site_id: str, miner_id: str) -> MinerLine | None:
    """The latest line of one miner."""
    line = session.scalar(
        select(MinerRow.line).where(MinerRow.site_id == site_id, MinerRow.miner_id == miner_id)
    )
    return MinerLine.model_validate(line) if line is not None else None


def acts_on(session: Session, site_id: str, miner_id: str) -> list[ActView]:
    """The newest acts of one miner, newest first."""
    rows = session.scalars(
        select(ActRow)
        .where(ActRow.site_id == site_id, ActRow.miner_id == miner_id)
        .order_by(ActRow.intended_at.desc(), ActRow.id)
        .limit(PAGE)
    )
    return [ActView(row.site_id, Act.model_validate(row.body)) for row in rows]


def history(session: Session, site_id: str, start: datetime, end: datetime) -> list[ProfitPoint]:
    """Profit of a site from `start` to `end`, oldest first."""
    columns = (SummaryRow.at, SummaryRow.profit_usd_per_day, SummaryRow.profit_nominal_usd_per_day)
    rows = session.execute(
        select(*columns)
        .where(SummaryRow.site_id == site_id, SummaryRow.at >= start, SummaryRow.at <= end)
        .order_by(SummaryRow.at.desc())
        .limit(_SUMMARY_ROWS)
    ).all()
    return [ProfitPoint(*row) for row in reversed(rows)]


def open_recommendations(
    session: Session, now: datetime, site_id: str | None = None
) -> list[RecommendationView]:
    """What can be decided now, the greatest gain first."""
    query = (
        select(RecommendationRow)
        .outerjoin(DecisionRow, _DECIDED)
        .where(*_is_open(now))
        .order_by(RecommendationRow.gain_usd_per_day.desc(), RecommendationRow.id)
        .limit(MAX_RECOMMENDATIONS)
    )
    if site_id is not None:
        query = query.where(RecommendationRow.site_id == site_id)
    return [_view(row, None, now) for row in session.scalars(query)]


def settled_recommendations(
    session: Session, now: datetime, site_id: str | None = None
) -> list[RecommendationView]:
    """The latest that can no longer be decided, newest first. Superseded ones are left out."""
    query = (
        select(RecommendationRow, DecisionRow)
        .outerjoin(DecisionRow, _DECIDED)
        .where(
            ~and_(*_is_open(now)),
            RecommendationRow.status != "superseded",
        )
        .order_by(func.coalesce(DecisionRow.at, RecommendationRow.at).desc(), RecommendationRow.id)
        .limit(PAGE)
    )
    if site_id is not None:
        query = query.where(RecommendationRow.site_id == site_id)
    return [_view(row, decision, now) for row, decision in session.execute(query)]


def recommendation(
    session: Session, now: datetime, site_id: str, recommendation_id: str
) -> RecommendationView | None:
    """One recommendation, or None."""
    row = session.get(RecommendationRow, (site_id, recommendation_id))
    if row is None:
        return None
    decision = session.scalar(
        select(DecisionRow).where(
            DecisionRow.site_id == site_id, DecisionRow.recommendation_id == recommendation_id
        )
    )
    return _view(row, decision, now)


def acts_of(session: Session, site_id: str, recommendation_id: str) -> list[ActView]:
    """The acts of one recommendation with the roll-backs of those, in order."""
    rows = session.scalars(
        select(ActRow)
        .where(ActRow.site_id == site_id, ActRow.recommendation_id == recommendation_id)
        .order_by(ActRow.intended_at, ActRow.seq)
        .limit(PAGE)
    )
    return [ActView(row.site_id, Act.model_validate(row.body)) for row in rows]


def ledger(session: Session, site_id: str | None, page: int) -> tuple[list[ActView], bool]:
    """One page of acts, newest first, and whether there are older ones."""
    query = select(ActRow).order_by(ActRow.intended_at.desc(), ActRow.id).offset(page * PAGE).limit(PAGE + 1)
    if site_id is not None:
        query = query.where(ActRow.site_id == site_id)
    rows = session.scalars(query).all()
    return [ActView(row.site_id, Act.model_validate(row.body)) for row in rows[:PAGE]], len(rows) > PAGE


def open_alerts(session: Session, site_id: str | None = None) -> list[Alert]:
    """Alerts that are not cleared, the newest first."""
    query = (
        select(AlertRow.body)
        .where(AlertRow.cleared.is_(False))
        .order_by(AlertRow.at.desc())
        .limit(MAX_ALERTS)
    )
    if site_id is not None:
        query = query.where(AlertRow.site_id == site_id)
    found = [Alert.model_validate(body) for body in session.scalars(query)]
    return sorted(found, key=lambda alert: ("critical", "warning", "info").index(alert.severity))


@dataclass(frozen=True, slots=True)
class SharedDrift:
    """One drift of one group of miners that several sites see: no fault of a site, the models have aged."""

    what: str
    sites: tuple[str, ...]
    since: datetime


def shared_drift(alerts: Sequence[Alert]) -> list[SharedDrift]:
    """What at least two sites call drift, by feature and miner group, the most widespread first."""
    seen: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.key.startswith(DRIFT_PREFIX):
            what = alert.key.removeprefix(DRIFT_PREFIX).replace(":", " ")
            seen.setdefault(what, []).append(alert)
    found = [
        SharedDrift(what, tuple(sorted({alert.site_id for alert in own})), min(alert.at for alert in own))
        for what, own in seen.items()
    ]
    return sorted((drift for drift in found if len(drift.sites) > 1), key=lambda d: (-len(d.sites), d.what))


def audit(session: Session, page: int) -> tuple[list[AuditRow], bool]:
    """One page of the audit log, newest first, and whether there are older rows."""
    rows = session.scalars(
        select(AuditRow).order_by(AuditRow.id.desc()).offset(page * PAGE).limit(PAGE + 1)
    ).all()
    return list(rows[:PAGE]), len(rows) > PAGE


def revision(session: Session) -> str:
    """Text that changes whenever anything that pages show has changed."""
    newest = (select(func.max(table.id)) for table in (StoredRecord, AuditRow))
    delivered, done = (session.scalar(query) for query in newest)
    heard = session.scalar(select(func.max(Site.heard_at)))
    return f"{delivered}-{done}-{heard}"


def _own_pace(session: Session, site_id: str) -> timedelta:
    # A site that reports rarely is given three times its last gap.
    last = session.scalars(
        select(SummaryRow.at).where(SummaryRow.site_id == site_id).order_by(SummaryRow.at.desc()).limit(2)
    ).all()
    gap = last[0] - last[1] if len(last) == 2 else timedelta(0)
    return min(3 * gap, timedelta(hours=3))


def _view(row: RecommendationRow, decision: DecisionRow | None, now: datetime) -> RecommendationView:
    state, awaiting = row.status, False
    if row.status == "proposed" and decision is not None:
        state, awaiting = decision.verdict, True
    elif row.status == "proposed" and row.expires_at <= now:
        state = "expired"
    return RecommendationView(row.site_id, Recommendation.model_validate(row.body), decision, state, awaiting)


_DECIDED = and_(
    DecisionRow.site_id == RecommendationRow.site_id, DecisionRow.recommendation_id == RecommendationRow.id
)


def _is_open(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        RecommendationRow.status == "proposed",
        RecommendationRow.expires_at > now,
        DecisionRow.seq.is_(None),
    )
