"""Templates to pages: the environment, the frame, live fragments with ETag, and error pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from agent import __version__
from agent.wording import confidence, quantity, setting
from dashboard import readmodel, wording
from dashboard.charts import Scale
from dashboard.errors import DashboardError
from dashboard.people import Person, take_notice
from dashboard.state import state_of

_FOLDER = Path(__file__).parent
_MAX_NEXT = 512
Context = dict[str, Any]


@cache
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (
        wording.number,
        wording.usd,
        wording.gain,
        wording.percent,
        confidence,
        wording.hashrate,
        wording.power,
        setting,
        wording.change_from,
        wording.change_to,
        wording.choice,
        wording.concerns,
        wording.ago,
        wording.until,
        wording.moment,
        wording.iso,
        wording.state,
        wording.tone,
        wording.short_id,
        wording.power_source,
        quantity,
    )
    env.filters.update({word.__name__: word for word in words})
    env.filters["path"] = lambda text: quote(str(text), safe="")
    env.globals.update(static=_static, version=__version__, Scale=Scale)
    return env


def live_page(
    request: Request,
    person: Person,
    name: str,
    title: str,
    build: Callable[[Session], Context],
) -> Response:
    """A page whose middle is refreshed from `/live` + its own path.

    Args:
        request: for the page itself or, under `/live`, for its middle alone.
        person: who looks.
        name: template of the middle, without `.html`.
        title: of the browser's tab.
        build: gives what the template shows; not called when the browser has it already.
    """
    state = state_of(request)
    now = state.clock.now()
    path = request.url.path
    is_fragment = path.startswith("/live/")
    own = path.removeprefix("/live") if is_fragment else path
    own = own.removesuffix("/") or "/"
    query = f"?{request.url.query}" if request.url.query else ""
    with state.database.read() as session:
        # Ages and countdowns run in the browser; once a minute all that depends on time is drawn anew.
        parts = (
            readmodel.revision(session),
            int(now.timestamp() // 60),
            own,
            query,
            person.session_hash,
            _stamp(),
        )
        tag = f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie"}
        if is_fragment and request.headers.get("if-none-match", "").removeprefix("W/") == tag:
            return Response(status_code=304, headers=headers)
        context = build(session) | {"now": now, "person": person, "own": own + query}
        context["open_total"] = sum(site.open_count for site in readmodel.sites(session, now, state.patience))
    middle = _environment().get_template(f"{name}.html").render(context)
    middle += f'<i data-open-total="{context["open_total"]}" hidden></i>'
    if is_fragment:
        return HTMLResponse(middle, headers=headers)
    frame = context | {
        "middle": middle,
        "title": title,
        "section": name,
        "live": "/live" + own + query,
        "factor": state.clock.factor,
        "notice": take_notice(state.database, person),
    }
    page = _environment().get_template("frame.html").render(frame)
    return HTMLResponse(page, headers={"Cache-Control": "no-store"})


def plain_page(
    name: str, context: Context, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A page outside the frame: sign-in and errors."""
    html = _environment().get_template(f"{name}.html").render(context)
    return HTMLResponse(html, status, headers=dict(headers or {}) | {"Cache-Control": "no-store"})


def error_page(request: Request, refusal: DashboardError, headers: Mapping[str, str]) -> Response:
    """The refusal for a person."""
    return plain_page("error", {"title": f"{refusal.status}", "refusal": refusal}, refusal.status, headers)


def login_redirect(request: Request) -> Response:
    """To the sign-in page and, from there, back here."""
    own = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = {"next": own} if request.method == "GET" and own != "/" else {}
    return RedirectResponse("/login" + ("?" + urlencode(query) if query else ""), 303)


def own_path(text: str | None) -> str:
    """`text` if it is a path on this site, else `/`: nobody is sent elsewhere from here."""
    if not text or len(text) > _MAX_NEXT or not text.startswith("/") or not text.isprintable():
        return "/"
    return "/" if text.startswith("//") or "\\" in text else text


@cache
def _static(name: str) -> str:
    digest = hashlib.sha256((_FOLDER / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def _stamp() -> str:
    files = sorted((_FOLDER / "templates").iterdir())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
