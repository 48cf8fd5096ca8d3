"""What people and miners do without the agent counts for its plans: holds and the wear budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.cycle import Cycle
from agent.models.inference import Curves
from agent.money.economics import Economics
from agent.records import Recommendation, SettingRecord
from agent.setting import Setting
from tests.chain.farms import NOON, Chain, chain, farm_spec, site_file
from tests.chain.test_cycle import CHEAP, DEAR, mixed, settle

# Braiins listens at a port too high for the farms' usual offset.
OFFSET = 10_000
EVERY = [
    *mixed(),
    {"model": "antminer-s19-pro", "host": 50, "firmware": "luxos"},
    {"model": "antminer-s19-pro", "host": 60, "firmware": "braiins"},
]
M30S = [{**mixed()[2], "initial": {"power_limit_w": 3400.0}}]
OBSERVED = {"tariff": CHEAP, "mode": "observe", "decide": {"interval_s": 3600.0}}


def after_a_crash(parts: Chain) -> Cycle:
    """The cycle of an agent that starts anew on what the store holds; the one before never shut down."""
    return Cycle(parts.config, parts.site, parts.store, Economics(parts.config), parts.clock)


def restarts(parts: Chain) -> list[int]:
    """Of each miner, those of the last day that nobody asked for."""
    return [parts.cycle._unasked.restarts(m.miner_id, parts.clock.now()) for m in parts.site.members]


def changed(parts: Chain) -> list[bool]:
    """Of each miner, whether another hand made the last change."""
    return [parts.cycle._unasked.changed_at(m.miner_id) is not None for m in parts.site.members]


def left(parts: Chain) -> list[int]:
    """Of each miner, restarts that the last decision was allowed."""
    assert parts.cycle._round is not None
    return list(map(int, parts.cycle._round.snapshot.fleet.restarts_left))


async def transmit(parts: Chain, one: Recommendation, setting: str) -> None:
    """Have the agent make a change."""
    proposed = SettingRecord.of(Setting.parse(setting))
    update: dict[str, Any] = {"id": setting.replace("=", "-"), "proposed": proposed}
    update |= {"expected": one.expected_current, "settle_s": 600.0, "restarts_hashing": True}
    [act] = parts.cycle.actuator.begin([one.model_copy(update=update)])
    await parts.cycle.actuator.transmit(act)


@pytest.mark.parametrize("how", ["restart_mining", "reboot"])
async def test_a_restart_that_nobody_asked_for_counts_once_and_changes_no_setting(
    tmp_path: Path, how: str
) -> None:
    spec = farm_spec(EVERY, tmp_path, OFFSET)
    async with chain(spec, site_file(spec, tmp_path, **OBSERVED)) as parts:
        await parts.run(3)
        assert restarts(parts) == [0] * len(EVERY)
        for machine in parts.farm.machines.values():
            getattr(machine, how)()
        await parts.run(40)
        assert restarts(parts) == [1] * len(EVERY)
        assert changed(parts) == [False] * len(EVERY)
        parts.cycle = after_a_crash(parts)
        await parts.run(2)
        assert restarts(parts) == [1] * len(EVERY)
        await parts.run(1, 86400.0)
        assert restarts(parts) == [0] * len(EVERY)


async def test_a_restart_during_an_outage_is_seen_when_the_miner_is_back(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, **OBSERVED)) as parts:
        (machine,), (peer,) = parts.farm.machines.values(), parts.farm.peers.values()
        await parts.run(1)
        machine.restart_mining()
        await parts.run(8)
        assert restarts(parts) == [1]
        await peer.set_faults(replace(peer.faults, unplugged=True))
        await parts.run(2)
        machine.restart_mining()
        # Its uptime passes the old one before anybody can read it.
        await parts.run(20)
        assert restarts(parts) == [1]
        await peer.set_faults(replace(peer.faults, unplugged=False))
        await parts.run(2)
        assert restarts(parts) == [2]


async def test_what_was_seen_is_not_lost_in_a_crash(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, **OBSERVED)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(2)
        machine.set_power_limit(3000.0)
        await parts.run(10)
        assert (restarts(parts), changed(parts)) == ([1], [True])
        parts.cycle = after_a_crash(parts)
        await parts.run(1)
        assert (restarts(parts), changed(parts)) == ([1], [True])


async def test_an_outage_without_a_restart_counts_nothing(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, **OBSERVED)) as parts:
        (peer,) = parts.farm.peers.values()
        await parts.run(8)
        await peer.set_faults(replace(peer.faults, unplugged=True))
        await parts.run(30)
        await peer.set_faults(replace(peer.faults, unplugged=False))
        await parts.run(3)
        assert restarts(parts) == [0]
        assert changed(parts) == [False]


async def test_a_stop_by_the_agent_is_nobody_elses_doing(tmp_path: Path) -> None:
    spec = farm_spec(EVERY, tmp_path, OFFSET)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(3)
        for one in parts.proposed():
            parts.approve(one)
        await settle(parts)
        await parts.run(25)
        assert [act.status for act in parts.store.acts()] == ["confirmed"] * len(EVERY)
        assert restarts(parts) == [0] * len(EVERY)
        assert changed(parts) == [False] * len(EVERY)


async def test_a_change_by_the_agent_that_restarts_the_miner_counts_once(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    limits = {"minimum_hold_h": 2.0, "restarts_per_day": 4}
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, limits=limits)) as parts:
        await parts.run(3)
        assert left(parts) == [4]
        (one,) = parts.proposed()
        await transmit(parts, one, "power_limit_w=3000")
        await settle(parts, cycles=400)
        await parts.run(40)
        assert [act.restarts_hashing for act in parts.store.acts()] == [True]
        assert (restarts(parts), changed(parts)) == ([0], [False])
        assert left(parts) == [3]


async def test_what_a_person_sets_while_a_change_is_being_confirmed_is_not_undone(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(3)
        (one,) = parts.proposed()
        await transmit(parts, one, "power_limit_w=3000")
        await parts.run(8)
        machine.set_power_limit(2700.0)
        await settle(parts, cycles=400)
        (act,) = parts.store.acts()
        assert act.status == "missed"
        assert machine.state().power_limit_w == 2700.0
        (alert,) = (alert for alert in parts.store.alerts() if alert.key == f"act-{act.id}")
        assert (
            "somebody else set power_limit_w=2700 while power_limit_w=3000 was being confirmed" in alert.text
        )
        await parts.run(40)
        assert parts.proposed() == []


async def test_what_a_person_sets_is_held_and_the_reason_is_told(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR), ManualClock(NOON)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(3)
        assert len(parts.proposed()) == 1
        machine.set_power_limit(3000.0)
        # 12:02:00 is when it is first seen; warming up is over a quarter of an hour after the restart.
        await parts.run(40)
        words = "in hold until 14:02 UTC: somebody else changed the setting at 12:02"
        assert (await parts.run(1)).miners[0].why == words
        assert parts.proposed() == []
        parts.cycle = after_a_crash(parts)
        await parts.run(2)
        assert parts.proposed() == []
        await parts.run(1, 6600.0)
        (one,) = parts.proposed()
        assert one.current == SettingRecord.of(Setting.parse("power_limit_w=3000"))


async def test_what_a_person_set_while_the_agent_was_away_is_held_from_when_it_is_seen(
    tmp_path: Path,
) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR), ManualClock(NOON)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(3)
        await parts.cycle.finish()
        machine.set_power_limit(3000.0)
        parts.clock.advance(3600.0)
        parts.cycle = after_a_crash(parts)
        words = "in hold until 15:02 UTC: somebody else changed the setting at 13:02"
        assert (await parts.run(1)).miners[0].why == words
        assert restarts(parts) == [1]


async def test_what_a_person_stops_is_not_woken_at_once(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP), ManualClock(NOON)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(3)
        machine.power_off()
        words = "in hold until 14:02 UTC: somebody else changed the setting at 12:02"
        for _ in range(12):
            assert (await parts.run(2)).miners[0].why == words
            assert parts.proposed() == []
        await parts.run(1, 6600.0)
        (one,) = parts.proposed()
        assert one.current == SettingRecord.of(Setting.parse("stop"))


async def test_a_setting_that_one_reading_shows_and_no_other_is_nobodys_change(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, **OBSERVED)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(3)
        machine.set_power_limit(3000.0)
        await parts.run(1)
        assert changed(parts) == [True]
        machine.set_power_limit(3400.0)
        await parts.run(2)
        assert changed(parts) == [False]


async def test_a_unit_that_is_too_hot_is_not_left_to_a_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = farm_spec(M30S, tmp_path)
    limits = {"minimum_hold_h": 2.0, "restarts_per_day": 1}
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP, limits=limits)) as parts:
        (machine,) = parts.farm.machines.values()
        await parts.run(3)
        machine.set_power_limit(3300.0)
        await parts.run(40)
        assert left(parts) == [0] and parts.proposed() == []
        correct = parts.cycle._learner.correct

        def hot(frame: Any, shares: Any, *rest: Any) -> Curves:
            curves = correct(frame, shares, *rest)
            heat = np.where(shares > 0.9, 150.0, 60.0)
            return replace(curves, chip_temp_c=np.repeat(heat[:, :, None], 3, axis=2))

        monkeypatch.setattr(parts.cycle._learner, "correct", hot)
        await parts.run(2)
        (one,) = parts.proposed()
        assert any(words.startswith("in hold until ") and "somebody else" in words for words in one.why.binds)
        assert one.why.inputs["restarts_by_others_today"] == 1.0


async def test_a_unit_whose_restarts_are_used_up_by_others_does_not_take_the_setting_that_needs_one(
    tmp_path: Path,
) -> None:
    spec = farm_spec(
        [{"model": "whatsminer-m30s-plus-plus", "host": 30, "firmware": "whatsminer-v2"}], tmp_path
    )
    limits = {"minimum_hold_h": 0.0, "restarts_per_day": 1}
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP, limits=limits)) as parts:
        (machine,) = parts.farm.machines.values()
        machine.power_off()
        await parts.run(3)
        (one,) = parts.proposed()
        assert one.restarts_hashing
        machine.restart_mining()
        machine.power_off()
        await parts.run(40)
        assert (left(parts), parts.proposed()) == ([0], [])
