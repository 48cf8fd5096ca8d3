"""Every folder of tests/cases/wire/ is what a miner does on the line and what a driver must make of it.

`case.yaml`: the numbers of the oddities that it shows, which scripted miner answers, what is done, what the
miner answers instead of the usual (`hang`, `close`, other text as it is, objects as JSON), what is expected.
"""

from __future__ import annotations

import asyncio
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.clock import ManualClock, SystemClock
from agent.devices.antminer.stock import AntminerStock
from agent.devices.device import Applied, Endpoint, Ports
from agent.devices.identify import identify_family
from agent.devices.whatsminer.v2 import WhatsminerV2
from agent.errors import DeviceError
from agent.hardware.bounds import Bounds, permit
from agent.setting import Knob, Setting
from tests.devices.antminer_scripted import (
    CLOSE,
    HANG,
    POOLS,
    SYSTEM,
    antminer,
    legacy_stats,
    listed,
    serving,
)
from tests.devices.test_antminer_stock import BOUNDS, FULL
from tests.devices.test_identify import Host
from tests.devices.whatsminer_scripted import ScriptedV2, listening

CASES = Path(__file__).parents[1] / "cases"
WIRE = sorted(folder for folder in (CASES / "wire").iterdir() if folder.is_dir())
# Numbers of the oddities that real miners showed to other clients.
ODDITIES = range(1, 32)
WHATSMINER = (
    Bounds(Knob.POWER_LIMIT_W, 2000, 3472.4),
    Bounds(Knob.WORK_MODE, choices=("low", "normal", "high")),
    Bounds(Knob.STOP),
)
USUAL = {"stats": legacy_stats(), "pools": listed("POOLS", [{"POOL": 0, "URL": POOLS[0]["url"]}], 7)}


def spoken(reply: Any) -> Any:
    """What a word of a case stands for."""
    if isinstance(reply, str):
        return {"hang": HANG, "close": CLOSE}.get(reply, reply.encode())
    return reply


def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


async def done(device: Any, what: str, bounds: tuple[Bounds, ...]) -> Any:
    """The reading, the identity, or what applying observed."""
    if what.startswith("apply "):
        return await device.apply(permit(Setting.parse(what.removeprefix("apply ")), bounds))
    return await (device.read() if what == "read" else device.identify())


async def with_antminer(case: dict[str, Any]) -> tuple[Any, list[Any], int]:
    """What came of it, what was written, and how many questions were asked."""
    conf = copy.deepcopy(FULL) | case.get("conf_changes", {}) if "conf" in case else {}
    api = {name: spoken(reply) for name, reply in case.get("api", copy.deepcopy(USUAL)).items()}
    pages = case.get("pages", {"get_system_info.cgi": SYSTEM})
    more = {"answers": spoken(case["answers"])} if "answers" in case else {}
    async with antminer(api=api, pages=pages, conf=conf, takes=case.get("takes", True), **more) as it:
        device = AntminerStock(it.endpoint(deadline_s=case.get("deadline_s", 4.0)), clock())
        try:
            found = await done(device, case["do"], BOUNDS)
        except DeviceError as error:
            found = error
        return found, it.written, len(it.asked)


async def with_whatsminer(case: dict[str, Any]) -> tuple[Any, list[Any], int]:
    peer = ScriptedV2()
    peer.joins = "api" not in case
    peer.replies |= {name: spoken(reply) for name, reply in case.get("api", {}).items()}
    peer.write_replies |= {name: spoken(reply) for name, reply in case.get("writes", {}).items()}
    async with listening(peer):
        device = WhatsminerV2(
            Endpoint("127.0.0.1", Ports(api=peer.port), deadline_s=2.0, write_deadline_s=2.0), clock()
        )
        try:
            found = await done(device, case["do"], WHATSMINER)
        except DeviceError as error:
            found = error
        return found, peer.written, len(peer.asked)


async def with_host(case: dict[str, Any]) -> tuple[Any, list[Any], int]:
    host = Host(case.get("api"))
    found: Any
    try:
        found = await (silent_page(case["deadline_s"]) if case.get("page") == "hang" else host.identify())
    except DeviceError as error:
        found = error
    return found, [name for name in host.asked if name == "frame"], len(host.asked)


async def silent_page(deadline_s: float) -> str:
    """Ask a host whose 4028 is closed and whose front page takes the connection and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as (web,):
        endpoint = Endpoint("127.0.0.1", Ports(api=1, web=web), deadline_s=deadline_s)
        async with asyncio.timeout(deadline_s):
            return await identify_family(endpoint, SystemClock())


PEERS = {"antminer": with_antminer, "whatsminer-v2": with_whatsminer, "host": with_host}


@pytest.mark.parametrize("folder", WIRE, ids=lambda folder: folder.name)
async def test_what_happens_on_the_line_comes_out_as_expected(folder: Path) -> None:
    case = yaml.safe_load((folder / "case.yaml").read_text())
    found, written, asked = await PEERS[case["peer"]](case)
    expected = case["expect"]
    if "error" in expected:
        assert isinstance(found, DeviceError), found
        assert found.kind == expected["error"], found
        assert expected.get("words", "") in str(found)
    elif isinstance(found, DeviceError):
        raise found
    assert asked <= expected.get("asked_at_most", 99)
    assert len(written) == expected.get("written", len(written))
    if "frames" in expected:
        assert len(written) == expected["frames"]
    if "reading" in expected or "identity" in expected:
        fields = expected.get("reading", expected.get("identity"))
        shown = found.to_dict() if "reading" in expected else vars_of(found)
        assert {name: shown[name] for name in fields} == fields
    if "family" in expected:
        assert found == expected["family"]
    if "acknowledged" in expected:
        assert isinstance(found, Applied)
        assert found.acknowledged is expected["acknowledged"]
        assert found.readback == Setting.parse(expected["readback"])
    for name, value in expected.get("sent", {}).items():
        assert written[-1][name] == value
        assert type(written[-1][name]) is type(value)


def vars_of(found: Any) -> dict[str, Any]:
    """Fields of a frozen record."""
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def test_every_known_oddity_has_a_folder() -> None:
    shown = yaml.safe_load((CASES / "rows.yaml").read_text())
    for folder in WIRE:
        for row in yaml.safe_load((folder / "case.yaml").read_text())["rows"]:
            shown.setdefault(row, []).append(f"wire/{folder.name}")
    assert sorted(shown) == list(ODDITIES)
    for row, folders in shown.items():
        assert folders, row
        for name in folders:
            assert (CASES / name).is_dir(), f"row {row}: {name}"


def test_cases_are_plain_data() -> None:
    for folder in WIRE:
        assert json.dumps(yaml.safe_load((folder / "case.yaml").read_text()))
