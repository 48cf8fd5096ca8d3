"""The pages of the fleet: overview, site, miner, recommendations, ledger, audit and the API itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from dashboard import readmodel
from dashboard.charts import Scale, profit_chart, sparkline
from dashboard.decisions import MAX_NOTE, Outcome, Verdict, decide_several
from dashboard.errors import Invalid, NotFound
from dashboard.forms import Form, person, person_with_form
from dashboard.people import Person, leave_notice
from dashboard.rendering import Context, live_page, own_path
from dashboard.state import State, state_of

router = APIRouter(include_in_schema=False)
Who = Annotated[Person, Depends(person)]
Sent = Annotated[tuple[Person, Form], Depends(person_with_form)]
PageNumber = Annotated[int, Query(ge=0, le=10_000)]
Range = Literal["6h", "24h", "7d"]
_HOURS: dict[Range, int] = {"6h": 6, "24h": 24, "7d": 168}


@router.get("/")
@router.get("/live/")
def fleet(request: Request, who: Who) -> Response:
    """Every site at a glance."""
    state = state_of(request)
    now = state.clock.now()

    def build(session: Session) -> Context:
        views = readmodel.sites(session, now, state.patience)
        start = now - timedelta(hours=24)
        sparks = {v.id: sparkline(readmodel.history(session, v.id, start, now), start, now) for v in views}
        alerts = readmodel.open_alerts(session)
        return {
            "sites": views,
            "totals": readmodel.fleet_totals(views),
            "sparks": sparks,
            "alerts": alerts,
            "drift": readmodel.shared_drift(alerts),
        }

    return live_page(request, who, "fleet", "Fleet", build)


@router.get("/sites/{site_id}")
@router.get("/live/sites/{site_id}")
def site(
    request: Request, who: Who, site_id: str, span: Annotated[Range, Query(alias="range")] = "24h"
) -> Response:
    """One site with its miners."""
    now = state_of(request).clock.now()

    def build(session: Session) -> Context:
        found = _site(session, request, site_id)
        lines = readmodel.miners(session, site_id)
        opened = {view.body.id: view for view in readmodel.open_recommendations(session, now, site_id)}
        start = now - timedelta(hours=_HOURS[span])
        return {
            "site": found,
            "lines": lines,
            "opened": opened,
            "scale": Scale.of([line.gain_usd_per_day for line in lines if line.gain_usd_per_day is not None]),
            "chart": profit_chart(readmodel.history(session, site_id, start, now), start, now),
            "range": span,
            "ranges": list(_HOURS),
            "alerts": readmodel.open_alerts(session, site_id),
        }

    return live_page(request, who, "site", site_id, build)


@router.get("/sites/{site_id}/miners/{miner_id}")
@router.get("/live/sites/{site_id}/miners/{miner_id}")
def miner(request: Request, who: Who, site_id: str, miner_id: str) -> Response:
    """One miner: what it does, what is known of it, and what was changed."""

    def build(session: Session) -> Context:
        found = _site(session, request, site_id)
        line = readmodel.miner(session, site_id, miner_id)
        if line is None:
            raise NotFound(f"there is no miner {miner_id} at site {site_id}")
        return {"site": found, "m": line, "acts": readmodel.acts_on(session, site_id, miner_id)}

    return live_page(request, who, "miner", f"{miner_id} · {site_id}", build)


@router.get("/recommendations")
@router.get("/live/recommendations")
def recommendations(request: Request, who: Who, site: str | None = None) -> Response:
    """What can be decided, and what became of what was."""
    now, patience = state_of(request).clock.now(), state_of(request).patience

    def build(session: Session) -> Context:
        opened = readmodel.open_recommendations(session, now, site)
        return {
            "opened": opened,
            "settled": readmodel.settled_recommendations(session, now, site),
            "scale": Scale.of([view.body.gain_usd_per_day for view in opened]),
            "names": {view.id: view.name for view in readmodel.sites(session, now, patience)},
            "only": site,
            "limit": readmodel.MAX_RECOMMENDATIONS,
        }

    return live_page(request, who, "recommendations", "Recommendations", build)


@router.get("/sites/{site_id}/recommendations/{recommendation_id}")
@router.get("/live/sites/{site_id}/recommendations/{recommendation_id}")
def recommendation(request: Request, who: Who, site_id: str, recommendation_id: str) -> Response:
    """The whole why of one recommendation, and what its act showed."""
    now = state_of(request).clock.now()

    def build(session: Session) -> Context:
        view = readmodel.recommendation(session, now, site_id, recommendation_id)
        if view is None:
            raise NotFound(f"there is no recommendation {recommendation_id} at site {site_id}")
        acts = readmodel.acts_of(session, site_id, recommendation_id)
        return {"site": _site(session, request, site_id), "view": view, "acts": acts}

    return live_page(request, who, "recommendation", f"Recommendation · {site_id}", build)


@router.get("/ledger")
@router.get("/live/ledger")
def ledger(request: Request, who: Who, site: str | None = None, page: PageNumber = 0) -> Response:
    """Every act: what was expected, what was sent, what telemetry showed."""
    now, patience = state_of(request).clock.now(), state_of(request).patience

    def build(session: Session) -> Context:
        acts, more = readmodel.ledger(session, site, page)
        verdicts = [act.kept_its_interval for act in acts if act.kept_its_interval is not None]
        return {
            "acts": acts,
            "more": more,
            "page": page,
            "only": site,
            "kept": sum(verdicts),
            "judged": len(verdicts),
            "names": {view.id: view.name for view in readmodel.sites(session, now, patience)},
        }

    return live_page(request, who, "ledger", "Ledger", build)


@router.get("/audit")
@router.get("/live/audit")
def audit(request: Request, who: Who, page: PageNumber = 0) -> Response:
    """Who did what, when."""

    def build(session: Session) -> Context:
        rows, more = readmodel.audit(session, page)
        return {"rows": rows, "more": more, "page": page}

    return live_page(request, who, "audit", "Audit", build)


@router.post("/decide")
async def decide(request: Request, sent: Sent) -> Response:
    """Approve or reject one or several; each `item` is `SITE/RECOMMENDATION`. Says what became of each."""
    who, fields = sent
    verdict, items = _wish(fields)
    wishes = [(site_id, rid) for site_id, slash, rid in (item.partition("/") for item in items) if slash]
    if len(wishes) > readmodel.MAX_RECOMMENDATIONS:
        raise Invalid(f"at most {readmodel.MAX_RECOMMENDATIONS} at a time")
    note = fields.get("note", [""])[0].strip() or None
    if note is not None and (len(note) > MAX_NOTE or "\x00" in note):
        raise Invalid(f"a note has at most {MAX_NOTE} characters")
    await run_in_threadpool(_decide, state_of(request), who, wishes, verdict, note)
    return RedirectResponse(own_path(fields.get("back", [""])[0]), 303)


@router.get("/api/openapi.json")
def openapi(request: Request, who: Who) -> Response:
    """The machine API as an OpenAPI document, for who is signed in."""
    return JSONResponse(_schema(request))


@router.get("/api/docs")
@router.get("/live/api/docs")
def api_docs(request: Request, who: Who) -> Response:
    """The machine API in words, for who is signed in."""
    paths = _schema(request)["paths"]
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    return live_page(request, who, "api", "API", lambda _session: {"operations": operations})


def _wish(fields: Form) -> tuple[Verdict, list[str]]:
    # The button beside one row decides that row alone, whatever else is ticked.
    match fields:
        case {"approve": [item]}:
            return "approved", [item]
        case {"reject": [item]}:
            return "rejected", [item]
        case {"verdict": ["approved"]}:
            return "approved", fields.get("item", [])
        case {"verdict": ["rejected"]}:
            return "rejected", fields.get("item", [])
        case _:
            raise Invalid("a verdict is approved or rejected")


def _schema(request: Request) -> dict[str, Any]:
    schema: dict[str, Any] = request.app.openapi()
    schema.setdefault("components", {})["securitySchemes"] = {
        "siteToken": {"type": "http", "scheme": "bearer"}
    }
    return schema


def _site(session: Session, request: Request, site_id: str) -> readmodel.SiteView:
    state = state_of(request)
    found = readmodel.sites(session, state.clock.now(), state.patience, site_id)
    if not found:
        raise NotFound(f"there is no site {site_id}")
    return found[0]


def _decide(
    state: State, who: Person, wishes: list[tuple[str, str]], verdict: Verdict, note: str | None
) -> None:
    outcomes = decide_several(
        state.database, state.clock, state.wall, wishes=wishes, verdict=verdict, by=who.name, note=note
    )
    leave_notice(state.database, who, _notice(outcomes, verdict))


def _notice(outcomes: list[Outcome], verdict: Verdict) -> dict[str, Any]:
    done = sum(outcome.decision is not None for outcome in outcomes)
    refused = [f"{o.recommendation_id}: {o.refusal.message}" for o in outcomes if o.refusal is not None]
    if not outcomes:
        return {"text": "Nothing was chosen.", "refused": [], "tone": "warn"}
    what = "recommendation" if done == 1 else "recommendations"
    onwards = " The site takes it up on its next contact." if verdict == "approved" and done else ""
    text = f"{done} {what} {verdict}.{onwards}" if done else f"Nothing was {verdict}."
    return {"text": text, "refused": refused[:10], "tone": "good" if not refused else "warn"}
