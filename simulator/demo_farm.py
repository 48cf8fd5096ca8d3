"""The farm of the demo: 24 machines of both vendors, two of them in trouble."""

from __future__ import annotations

import socket
from typing import Any

WEB_PORT = 80
# Where an ordinary user may not listen on port 80, every port moves up by this much.
OFFSET = 10_000


def demo_farm(seed: int, port_offset: int) -> dict[str, Any]:
    """The content of FARM.yaml."""
    groups = [_group(*row) for row in _GROUPS]
    # One unit has lost its cable and one takes connections without ever answering.
    groups[1]["miners"] = {"2": {"faults": {"unplugged": True}}}
    groups[3]["miners"] = {"4": {"faults": {"hang": True}}}
    return _farm("demo", seed, port_offset, groups)


def training_farm(seed: int) -> dict[str, Any]:
    """Another farm of the same models, whose history the demo learns from: no unit of it is in the demo."""
    return _farm("history", seed + 1000, 0, [_group(*row) for row in _GROUPS])


_GROUPS = (
    ("antminer-s19-pro", 4, 10, "antminer-legacy", "hall-a"),
    ("antminer-s19j-pro", 3, 20, "antminer-legacy", "hall-a"),
    ("antminer-s21", 4, 30, "antminer-new", "hall-b"),
    ("whatsminer-m30s-plus-plus", 5, 40, "whatsminer-v2", "hall-a"),
    ("whatsminer-m50", 4, 50, "whatsminer-v2", "hall-b"),
    ("whatsminer-m60s", 4, 60, "whatsminer-v3", "hall-b"),
)


def _farm(name: str, seed: int, port_offset: int, groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "seed": seed,
        "port_offset": port_offset,
        "ambient": {"kind": "seasonal", "mean_c": 16.0},
        "groups": groups,
    }


def lowest_bindable_offset() -> int:
    """0 where this user may listen on the real ports, else `OFFSET`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.77.0.1", WEB_PORT))
        except PermissionError:
            return OFFSET
        except OSError:
            return 0
    return 0


def _group(model: str, count: int, host: int, firmware: str, tag: str) -> dict[str, Any]:
    return {
        "model": model,
        "count": count,
        "first_address": f"127.77.0.{host}",
        "firmware": firmware,
        "tags": [tag],
    }
