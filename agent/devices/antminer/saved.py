"""Raw replies of a stock Antminer to files, and such files to a Reading. Test cases have the same format."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from agent.clock import Clock
from agent.devices.antminer import api as api
from agent.devices.antminer.layouts import is_new_layout
from agent.devices.antminer.parse import Replies, check_status, reading_of
from agent.devices.antminer.web import Web
from agent.devices.device import Endpoint
from agent.devices.redact import redact
from agent.devices.transport import tolerant_json
from agent.errors import DeviceError, Malformed, Timeout, Unreachable
from agent.reading import Reading

_COMMANDS = ("version", "stats", "summary", "pools", "devs")
_BOTH_LAYOUTS = ("stats", "summary", "pools")
_PAGES = {
    "get_system_info.cgi": "get_system_info.json",
    "miner_type.cgi": "miner_type.json",
    "get_network_info.cgi": "get_network_info.json",
    "get_miner_conf.cgi": "get_miner_conf.json",
    "get_adjustment_params.cgi": "get_adjustment_params.json",
    "summary.cgi": "web_summary.json",
}
_STATUS_PAGES = {"/warning": "warning.json", "/miner_power": "miner_power.txt"}
_INFO = ("get_system_info", "get_network_info", "miner_type", "get_miner_conf", "web_summary", "warning")
_KNOWN = frozenset((*_COMMANDS, *_INFO))
# With one of these a Reading is worth having even where another reply is broken.
_ENOUGH = frozenset(("stats", "summary", "get_system_info"))


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies of every read command, by file name, with secrets taken out.

    `stats.new_api.json` and its like hold the new layout, from firmware that has it beside the old one.

    Raises:
        DeviceError: not one command was answered.
    """
    found: dict[str, bytes] = {}
    problems: list[DeviceError] = []
    await _capture_api(endpoint, found, problems)
    async with Web(endpoint) as web:
        for page, file in _PAGES.items():
            try:
                found[file] = redact(await web.page(page, endpoint.deadline_s))
            except DeviceError as error:
                problems.append(error)
                if isinstance(error, Timeout | Unreachable):
                    break
    for path, file in _STATUS_PAGES.items():
        with contextlib.suppress(DeviceError):
            found[file] = redact(await api.status_page(endpoint, path, endpoint.deadline_s))
    if not found:
        raise problems[0] if problems else Unreachable(endpoint.address, "not one command was answered")
    return found


async def _capture_api(endpoint: Endpoint, found: dict[str, bytes], problems: list[DeviceError]) -> None:
    try:
        for command in _COMMANDS:
            raw = await api.raw(endpoint, command, endpoint.deadline_s)
            found[f"{command}.json"] = redact(raw)
            if command in _BOTH_LAYOUTS and not _is_new(raw):
                raw = await api.raw(endpoint, command, endpoint.deadline_s, new_api=True)
                if _is_new(raw):
                    found[f"{command}.new_api.json"] = redact(raw)
    except DeviceError as error:
        # A port that is closed or silent stays so for the next command.
        problems.append(error)


def _is_new(raw: bytes) -> bool:
    try:
        return is_new_layout(tolerant_json(raw, ""))
    except DeviceError:
        return False


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """Saved replies to a Reading; whatever subset is there is used.

    Args:
        replies: by file name; the part before the first dot is the command. Of two layouts of one
            command the new one is taken if it holds figures.

    Raises:
        Malformed: nothing usable, or a reply that cannot be read. Unsupported, Refused, Unreachable: what
            the only reply says.
    """
    return reading_of(replies_of(replies, address), address)


def replies_of(replies: Mapping[str, bytes], address: str | None = None) -> Replies:
    """Saved replies as they are decoded, by where they come from.

    Raises:
        DeviceError: as `decode`.
    """
    where = address or "saved replies"
    documents: dict[str, Any] = {}
    power: bytes | None = None
    problem: DeviceError | None = None
    for file in sorted(replies, key=lambda name: (name.count("."), name)):
        command = file.split(".", 1)[0]
        if command == "miner_power":
            power = replies[file]
            continue
        try:
            document = check_status(tolerant_json(replies[file], where), where)
        except DeviceError as error:
            problem = problem or error
            continue
        if command not in documents or _holds_figures(document):
            documents[command] = document
    if not documents.keys() & _KNOWN and power is None:
        raise problem or Malformed(
            where, f"no reply of a known command; expected some of {', '.join(sorted(_KNOWN))}"
        )
    if problem is not None and not documents.keys() & _ENOUGH and power is None:
        raise problem
    summary = documents.get("summary")
    return Replies(
        stats=documents.get("stats"),
        summary=summary,
        pools=documents.get("pools"),
        version=documents.get("version"),
        # Both pages name the network card; the first says more.
        system_info=documents.get("get_system_info") or documents.get("get_network_info"),
        miner_type=documents.get("miner_type"),
        conf=documents.get("get_miner_conf"),
        web_summary=documents.get("web_summary") or summary,
        warning=documents.get("warning"),
        miner_power=power,
        devs=documents.get("devs"),
    )


def _holds_figures(document: Mapping[str, Any]) -> bool:
    return any(isinstance(document.get(key), list) and document[key] for key in ("STATS", "SUMMARY", "POOLS"))
