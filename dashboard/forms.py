"""Reads what browsers send: forms within bounds, the session cookie, and proof that a form is our own."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from dashboard.errors import Forbidden, Invalid, TooLarge, UnsupportedMedia
from dashboard.people import Person, person_of
from dashboard.secrecy import same
from dashboard.state import state_of

COOKIE = "hashmargin_session"
_MAX_FORM_BYTES = 256 * 1024
_MAX_FIELDS = 1000
Form = dict[str, list[str]]


def person(request: Request) -> Person:
    """FastAPI dependency: who is signed in.

    Raises:
        Unauthenticated: nobody.
    """
    state = state_of(request)
    return person_of(state.database, state.wall, request.cookies.get(COOKIE))


async def form(request: Request) -> Form:
    """FastAPI dependency: the fields of a form that came from a page of ours.

    Raises:
        Forbidden: the browser says that another site sent it.
        UnsupportedMedia, TooLarge, Invalid: it is no form.
    """
    origin = request.headers.get("origin")
    fetched_by = request.headers.get("sec-fetch-site", "same-origin")
    if fetched_by not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Forbidden("this form was sent by another site", "cross_site")
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise UnsupportedMedia("send a form")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_FORM_BYTES:
            raise TooLarge("the form is too large; choose fewer at a time")
    try:
        return parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise Invalid("the form cannot be read, or holds too many fields") from error


async def person_with_form(request: Request) -> tuple[Person, Form]:
    """FastAPI dependency: who sent the form, proven by the session's form token in it.

    Raises:
        Unauthenticated: nobody is signed in.
        Forbidden: the token is missing or not that of the session.
    """
    who = await run_in_threadpool(person, request)
    fields = await form(request)
    if not same(fields.get("csrf", [""])[0], who.csrf):
        raise Forbidden("this form is not from your session; reload the page and try again", "bad_csrf")
    return who, fields
