"""Raw replies of a BraiinsOS miner to files, and such files to a Reading. Test cases have the same format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.clock import Clock
from agent.devices.braiins.parse import Replies, reading_of
from agent.devices.braiins.session import session
from agent.devices.device import Endpoint
from agent.devices.redact import redact
from agent.devices.token_session import TokenSession
from agent.devices.transport import tolerant_json
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unauthorised, Unreachable, Unsupported
from agent.reading import Reading

# File name without its suffix -> path.
FILES = {
    "stats": "miner/stats",
    "details": "miner/details",
    "hashboards": "miner/hw/hashboards",
    "cooling": "cooling/state",
    "tuner": "performance/tuner-state",
    "errors": "miner/errors",
    "pools": "pools/",
    "constraints": "configuration/constraints",
    "configuration": "configuration/miner",
    "version": "version/",
}
_OBJECTS = ("stats", "details", "hashboards", "cooling", "tuner", "errors")
# With one of these a Reading is worth having even where another reply is broken.
_ENOUGH = ("stats", "details", "hashboards")


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies to every read request, by file name, with secrets taken out.

    Raises:
        DeviceError: not one request was answered.
    """
    miner = session(endpoint)
    found: dict[str, bytes] = {}
    problem: DeviceError | None = None
    for name, path in FILES.items():
        try:
            reply = await listed(miner, path, endpoint.deadline_s)
        except (Unsupported, Refused) as error:
            problem = problem or error
        except DeviceError as error:
            problem = problem or error
            if isinstance(error, Unauthorised | Timeout | Unreachable):
                break
        else:
            found[f"{name}.json"] = redact(reply)
    if not found:
        raise problem or Unreachable(endpoint.address, "not one request was answered")
    return found


async def listed(session: TokenSession, path: str, deadline_s: float) -> bytes:
    """The body of `path`; where it ends in a slash and is not there, of the path without it.

    Raises:
        DeviceError: as `Session.raw`.
    """
    try:
        return (await session.raw(path, deadline_s)).body
    except (Unsupported, Refused):
        # The documents write some paths with a slash, which not every version takes.
        if not path.endswith("/"):
            raise
    return (await session.raw(path.rstrip("/"), deadline_s)).body


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """Saved replies to a Reading; whatever subset is there is used.

    Args:
        replies: by file name; the part before the first dot says which reply it is.

    Raises:
        Malformed: nothing usable, or a reply that cannot be read.
    """
    where = address or "saved replies"
    documents: dict[str, Any] = {}
    problem: DeviceError | None = None
    for file in sorted(replies):
        name = file.split(".", 1)[0]
        if name not in FILES:
            continue
        try:
            documents[name] = _shaped(name, tolerant_json(replies[file], where), where)
        except DeviceError as error:
            problem = problem or error
    if problem is not None and not any(name in documents for name in _ENOUGH):
        raise problem
    if not any(name in documents for name in (*_OBJECTS, "pools")):
        raise Malformed(where, f"none of the replies known here: {', '.join(FILES)}")
    return reading_of(
        Replies(
            stats=documents.get("stats"),
            details=documents.get("details"),
            hashboards=documents.get("hashboards"),
            cooling=documents.get("cooling"),
            tuner=documents.get("tuner"),
            errors=documents.get("errors"),
            pools=documents.get("pools"),
        ),
        address,
    )


def _shaped(name: str, document: Any, where: str) -> Any:
    wanted = list if name == "pools" else dict
    if name in (*_OBJECTS, "pools") and not isinstance(document, wanted):
        raise Malformed(where, f"{name}: expected {wanted.__name__}, got {type(document).__name__}")
    return document
