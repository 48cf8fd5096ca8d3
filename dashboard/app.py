"""Puts the application together: machine API, pages, health, security headers, and errors in one shape."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent import __version__
from agent.clock import Clock, SystemClock
from dashboard import api, pages, people_pages
from dashboard.database import Database
from dashboard.errors import DashboardError, NotFound, Throttled, Unavailable
from dashboard.rendering import error_page, login_redirect
from dashboard.state import State, state_of

_log = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(
    database: Database,
    clock: Clock,
    *,
    wall: Clock | None = None,
    secure: bool = False,
    relayed: Path | None = None,
) -> FastAPI:
    """The dashboard as an ASGI application.

    Args:
        database: open; the caller closes it.
        clock: time of the sites.
        wall: real time for sessions and audit; the system's by default.
        secure: served over TLS.
        relayed: folder below which `sources` holds what is relayed to sites.
    """
    app = FastAPI(
        title="hashmargin dashboard",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False},
    )
    app.state.shared = State(database, clock, wall or SystemClock(), secure, relayed)
    app.include_router(api.router)
    app.include_router(people_pages.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    app.add_api_route("/healthz", _alive, include_in_schema=False)
    app.add_api_route("/readyz", _ready, include_in_schema=False)
    app.add_exception_handler(DashboardError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_middleware(_SecurityHeaders, secure=secure)
    return app


def _alive() -> dict[str, str]:
    return {"status": "ok"}


def _ready(request: Request) -> JSONResponse:
    ready = state_of(request).database.is_ready()
    return JSONResponse({"status": "ready" if ready else "database unavailable"}, 200 if ready else 503)


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, DashboardError):
        refusal = error
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        refusal = DashboardError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", "invalid")
        refusal.status = 422
    elif isinstance(error, HTTPException) and error.status_code != 404:
        refusal = DashboardError(str(error.detail), _CODES.get(error.status_code, "refused"))
        refusal.status = error.status_code
    else:
        refusal = NotFound("there is no such page")
    return _answer(request, refusal)


def _database_away(request: Request, error: Exception) -> Response:
    _log.error("the database does not answer: %s", getattr(error, "orig", error))
    return _answer(request, Unavailable("the database does not answer; try again shortly"))


def _failed(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this answer, and the server logs it with its traceback.
    return _answer(request, DashboardError("something went wrong here; the log says what"))


def _answer(request: Request, refusal: DashboardError) -> Response:
    path = request.url.path
    headers = {"Cache-Control": "no-store"}
    if isinstance(refusal, Throttled):
        headers["Retry-After"] = str(refusal.retry_after_s)
    if path.startswith("/api/v1/") or path in ("/healthz", "/readyz"):
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = {"error": {"code": refusal.code, "message": refusal.message}}
        return JSONResponse(body, refusal.status, headers)
    if refusal.status == 401 and not path.startswith("/live/"):
        return login_redirect(request)
    return error_page(request, refusal, headers)


class _SecurityHeaders:
    """Adds the headers to every answer, errors and static files too."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        headers = dict(_SECURITY_HEADERS)
        if secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers)
