"""The GraphQL page of Braiins OS, which clients ask for model and version before they know the rest.

Only selections of fields without arguments are understood; anything else is refused.
"""

from __future__ import annotations

import re
from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json
from simulator.peers.braiins import layouts
from simulator.peers.braiins.unit import VERSION, BraiinsUnit

MAX_QUERY = 8192
MAX_DEPTH = 12
_TOKEN = re.compile(r"\s*([{}]|[A-Za-z_][A-Za-z0-9_]*|\S)")
Selection = dict[str, Any]


def answer(body: Any, state: MachineState, unit: BraiinsUnit) -> Json:
    """The reply to one request."""
    query = body.get("query") if isinstance(body, dict) else None
    if not isinstance(query, str) or len(query) > MAX_QUERY:
        return _refused("Invalid query")
    try:
        selection = _parse(query)
        return {"data": _select(_document(state, unit), selection, "Query")}
    except ValueError as error:
        return _refused(str(error))


def _document(state: MachineState, unit: BraiinsUnit) -> Json:
    watts = layouts.watts(state, unit)
    limit = unit.tuner.configured
    return {
        "bos": {
            "faultLight": unit.locating,
            "hostname": unit.hostname,
            "info": {"version": {"full": VERSION}},
            "uptime": {"durationS": int(state.uptime_s)},
        },
        "bosminer": {
            "info": {
                "modelName": state.type_text,
                "fans": [
                    {
                        "name": str(number),
                        "rpm": round(rpm),
                        "speed": round(100.0 * layouts.fan_ratio(state, rpm)),
                    }
                    for number, rpm in enumerate(state.fan_rpm)
                ],
                "summary": {
                    "power": {
                        "approxConsumptionW": watts,
                        "limitW": int(limit.value) if limit.mode == "power" else None,
                    }
                },
                "workSolver": {
                    "nominalMhs": state.hashrate_ideal_ths * 1e6,
                    "realHashrate": {"mhs5S": state.hashrate_5s_ths * 1e6, "mhs1M": state.hashrate_ths * 1e6},
                },
            }
        },
    }


def _percent(state: MachineState, rpm: float) -> int:
    return round(100.0 * layouts.fan_ratio(state, rpm))


def _refused(message: str) -> Json:
    return {"data": None, "errors": [{"message": message}]}


def _parse(query: str) -> Selection:
    """The fields a query selects.

    Raises:
        ValueError: it is no plain selection.
    """
    words = _TOKEN.findall(query)
    if words and words[0] == "query":
        words = words[1:] if words[1:2] == ["{"] else words[2:]
    if words[:1] != ["{"]:
        raise ValueError("Syntax error: expected {")
    root: Selection = {}
    stack: list[Selection] = []
    here, last = root, ""
    for word in words:
        if word == "{":
            if stack and not last:
                raise ValueError("Syntax error: expected a field")
            if len(stack) >= MAX_DEPTH:
                raise ValueError("Query is nested too deep.")
            stack.append(here)
            here = here.setdefault(last, {}) if last else root
            last = ""
        elif word == "}":
            if not stack:
                raise ValueError("Syntax error: unexpected }")
            here, last = stack.pop(), ""
        elif stack and (word[0].isalpha() or word[0] == "_"):
            here.setdefault(word, {})
            last = word
        else:
            raise ValueError(f"Syntax error: unexpected {word}")
    if stack:
        raise ValueError("Syntax error: unexpected end of query")
    return root


def _select(value: Any, selection: Selection, kind: str) -> Any:
    if isinstance(value, list):
        return [_select(item, selection, kind) for item in value]
    if not isinstance(value, dict):
        if selection:
            raise ValueError(f'Field "{kind}" must not have a selection since it has no subfields')
        return value
    if not selection:
        raise ValueError(f'Field "{kind}" must have a selection of subfields')
    chosen: Json = {}
    for name, below in selection.items():
        if name not in value:
            raise ValueError(f'Unknown field "{name}" on type "{kind}".')
        chosen[name] = _select(value[name], below, name)
    return chosen
