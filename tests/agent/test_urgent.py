"""A curtailment takes the firmware's fast way, every other change the gentle one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.acting.actuation import Actuator
from agent.clock import ManualClock
from agent.devices.device import Applied, Device, Endpoint, Ports
from agent.devices.whatsminer.v2 import WhatsminerV2
from agent.hardware.bounds import Bounds
from agent.records import Recommendation
from agent.setting import Knob
from agent.store import open_store
from tests.devices.whatsminer_scripted import ScriptedV2, listening

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PERCENT = Bounds(Knob.POWER_PERCENT, 50, 100)


class OneMiner:
    """A fleet of one."""

    def __init__(self, device: Device) -> None:
        self._device = device

    @asynccontextmanager
    async def exclusive(self, miner_id: str) -> AsyncIterator[Device]:
        yield self._device

    def bounds(self, miner_id: str) -> tuple[Bounds, ...]:
        return (PERCENT,)


def approved(kind: str) -> Recommendation:
    spread = {"q10": 1.0, "q50": 2.0, "q90": 3.0}
    return Recommendation.model_validate(
        {
            "id": "r1",
            "type": kind,
            "site_id": "s",
            "miner_id": "m",
            "model": None,
            "timestamp": NOW,
            "expires_at": NOW + timedelta(hours=1),
            "status": "approved",
            "confidence": 0.9,
            "gain_usd_per_day": spread,
            "current": None,
            "proposed": {"knob": "power_percent", "value": 80.0},
            "expected": {"hashrate_ths": spread, "power_w": spread, "profit_usd_per_day": spread},
            "steps": [],
            "why": {
                "summary": "test",
                "inputs": {},
                "alternatives": [],
                "binds": [],
                "model": "none",
                "model_is_fallback": True,
                "feature_hash": "0",
                "prices_from": NOW,
                "prices_to": NOW,
            },
        }
    )


@pytest.mark.parametrize(
    ("kind", "command"), [("curtailment", "set_power_pct"), ("power_setting", "set_power_pct_v2")]
)
async def test_a_curtailment_is_sent_by_the_fast_command(tmp_path: Path, kind: str, command: str) -> None:
    clock = ManualClock(NOW)
    store, _ = open_store(tmp_path / "agent.sqlite3", "s", NOW)
    async with listening(ScriptedV2()) as peer:
        endpoint = Endpoint("127.0.0.1", Ports(api=peer.port), deadline_s=2.0, write_deadline_s=4.0)
        fleet = OneMiner(WhatsminerV2(endpoint, clock))
        actuator = Actuator(store, fleet, clock, "s", lambda *_: None)
        store.put_recommendation(approved(kind))
        for act in actuator.begin([approved(kind)]):
            await actuator.transmit(act)
    assert [one["cmd"] for one in peer.written] == [command]
    store.close()


async def test_a_long_configuration_in_the_journal_can_be_read_again(tmp_path: Path) -> None:
    class Wordy:
        async def apply(self, setting: object) -> Applied:
            return Applied(True, already_set=False, before=None, readback=None, sent="x" * 100_000)

    store, _ = open_store(tmp_path / "agent.sqlite3", "s", NOW)
    actuator = Actuator(store, OneMiner(Wordy()), ManualClock(NOW), "s", lambda *_: None)  # type: ignore[arg-type]
    store.put_recommendation(approved("power_setting"))
    for act in actuator.begin([approved("power_setting")]):
        await actuator.transmit(act)
    assert len(store.open_acts()[0].sent or "") == 2000
    store.close()
