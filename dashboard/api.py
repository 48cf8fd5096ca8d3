"""The machine side over HTTP: sites deliver records and fetch decisions.

Storing is left to `dashboard.ingest`.
"""

from __future__ import annotations

import zlib
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from agent.records import Batch, BatchReply, Decisions
from agent.sources.table import cache_path
from dashboard.database import Database
from dashboard.decisions import decisions_after
from dashboard.errors import Forbidden, Invalid, NotFound, TooLarge, Unauthenticated, UnsupportedMedia
from dashboard.ingest import check_batch, store_batch
from dashboard.people import site_of_token
from dashboard.state import state_of

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_INFLATED_BYTES = 32 * 1024 * 1024
SiteId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", description="Identifier of the site.")
]
Bearer = Annotated[str | None, Header(alias="authorization", include_in_schema=False)]
_ERRORS = {
    401: "No token, or one that is not known.",
    403: "The token of another site.",
    413: f"The body is over {MAX_BODY_BYTES >> 20} MiB, or over {MAX_INFLATED_BYTES >> 20} MiB unpacked.",
    415: "The body is not application/json, plain or gzip.",
    422: "The batch or one of its records breaks the contract. Nothing of the batch was stored.",
}
_SECURITY: list[dict[str, list[str]]] = [{"siteToken": []}]
_BATCH = {"application/json": {"schema": Batch.model_json_schema()}}

router = APIRouter(prefix="/api/v1/sites/{site_id}", tags=["site agents"])


@router.post(
    "/records",
    response_model=BatchReply,
    summary="Deliver records",
    responses={code: {"description": words} for code, words in _ERRORS.items()},
    openapi_extra={
        "security": _SECURITY,
        "requestBody": {
            "required": True,
            "content": _BATCH,
        },
    },
)
async def deliver(request: Request, site_id: SiteId, authorization: Bearer = None) -> BatchReply:
    """Store a batch whole or not at all. Sending it again is harmless: each key is kept once."""
    state = state_of(request)
    await run_in_threadpool(_authorise, state.database, site_id, authorization)
    raw = await _body(request)
    delivered = await run_in_threadpool(check_batch, site_id, raw)
    return await run_in_threadpool(store_batch, state.database, state.clock, site_id, delivered)


@router.get(
    "/decisions",
    response_model=Decisions,
    summary="Fetch decisions",
    responses={
        304: {"description": "Nothing new since the ETag in If-None-Match."},
        401: {"description": _ERRORS[401]},
        403: {"description": _ERRORS[403]},
    },
    openapi_extra={"security": _SECURITY},
)
def decisions(
    request: Request,
    response: Response,
    site_id: SiteId,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Last seq that the site has.")] = 0,
    authorization: Bearer = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response | Decisions:
    """At most 200 decisions with a seq above `after`, oldest first."""
    state = state_of(request)
    _authorise(state.database, site_id, authorization)
    found, last = decisions_after(state.database, site_id, after)
    tag = f'"{after}-{last}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and tag in [word.strip() for word in if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return Decisions(decisions=found)


@router.get(
    "/sources/{name}",
    summary="Fetch prices or market data that the dashboard relays",
    responses={401: {"description": _ERRORS[401]}, 403: {"description": _ERRORS[403]}},
    openapi_extra={"security": _SECURITY},
)
def relayed_source(
    request: Request,
    site_id: SiteId,
    name: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="Name of the source.")],
    authorization: Bearer = None,
) -> Response:
    """The last good table of a source, for sites without internet; how old it is, its rows say."""
    state = state_of(request)
    _authorise(state.database, site_id, authorization)
    try:
        body = cache_path(state.relayed, name).read_bytes() if state.relayed is not None else None
    except FileNotFoundError:
        body = None
    if body is None:
        raise NotFound(f"no source {name} is relayed here")
    return Response(body, media_type="application/json", headers={"Cache-Control": "private, no-cache"})


def _authorise(database: Database, site_id: str, authorization: str | None) -> None:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send 'Authorization: Bearer TOKEN'", "no_token")
    if site_of_token(database, token.strip()) != site_id:
        raise Forbidden(f"this token is not that of site {site_id}", "wrong_site")


async def _body(request: Request) -> bytes:
    """The body, unpacked; refused by its stated length before a byte of it is read.

    Raises:
        UnsupportedMedia, TooLarge, Invalid.
    """
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMedia("send application/json")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise UnsupportedMedia("send it plain or with Content-Encoding: gzip")
    stated = request.headers.get("content-length", "0")
    too_large = TooLarge(f"a body has at most {MAX_BODY_BYTES} bytes; send fewer records at a time")
    if not stated.isdecimal() or int(stated) > MAX_BODY_BYTES:
        raise too_large
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BODY_BYTES:
            raise too_large
    return await run_in_threadpool(_inflate, bytes(read)) if coding == "gzip" else bytes(read)


def _inflate(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        raw = unpacker.decompress(packed, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise Invalid("the body is not gzip", "invalid_batch") from error
    if unpacker.unconsumed_tail:
        raise TooLarge(f"a body unpacks to at most {MAX_INFLATED_BYTES} bytes; send fewer records at a time")
    if not unpacker.eof:
        raise Invalid("the gzip body ends early", "invalid_batch")
    return raw
