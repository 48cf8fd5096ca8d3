"""Signing in and out on the page. Checking passwords and sessions is left to `dashboard.people`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from dashboard.errors import Throttled, Unauthenticated
from dashboard.forms import COOKIE, Form, form, person, person_with_form
from dashboard.people import SESSION_HOURS, Person, sign_in, sign_out
from dashboard.rendering import own_path, plain_page
from dashboard.state import state_of

Sent = Annotated[tuple[Person, Form], Depends(person_with_form)]

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show_login(request: Request, next: str | None = None) -> Response:  # noqa: A002 - the name in the address
    """The sign-in form, or onwards for who is signed in already."""
    try:
        person(request)
    except Unauthenticated:
        return plain_page("login", {"title": "Sign in", "next": own_path(next), "name": "", "problem": None})
    return RedirectResponse(own_path(next), 303)


@router.post("/login")
async def login(request: Request, fields: Annotated[Form, Depends(form)]) -> Response:
    """Check name and password; on success set the session cookie."""
    state = state_of(request)
    name = fields.get("name", [""])[0].strip()
    onwards = own_path(fields.get("next", [""])[0])
    address = request.client.host if request.client is not None else "unknown"
    try:
        token = await run_in_threadpool(
            sign_in, state.database, state.wall, name, fields.get("password", [""])[0], address
        )
    except (Unauthenticated, Throttled) as refusal:
        shown = {"title": "Sign in", "next": onwards, "name": name[:100], "problem": refusal.message}
        headers = {"Retry-After": str(refusal.retry_after_s)} if isinstance(refusal, Throttled) else None
        return plain_page("login", shown, refusal.status, headers)
    response = RedirectResponse(onwards, 303)
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="strict",
        secure=state.secure,
        path="/",
    )
    return response


@router.post("/logout")
async def logout(request: Request, sent: Sent) -> Response:
    """End the session."""
    state = state_of(request)
    await run_in_threadpool(sign_out, state.database, state.wall, sent[0])
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response
