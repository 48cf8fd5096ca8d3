"""Poll, features, models, decide, act, confirm: the whole chain over real sockets."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits
from agent.records import Act
from tests.chain.farms import NOON, chain, farm_spec, site_file

DEAR = {"kind": "fixed", "price_usd_per_kwh": 0.30}
CHEAP = {"kind": "fixed", "price_usd_per_kwh": 0.01}


def mixed() -> list[dict[str, Any]]:
    return [
        {"model": "antminer-s19-pro", "host": 10, "firmware": "antminer-legacy"},
        {"model": "antminer-s21", "host": 20, "firmware": "antminer-new"},
        {"model": "whatsminer-m30s-plus-plus", "host": 30, "firmware": "whatsminer-v2"},
        {"model": "whatsminer-m60s", "host": 40, "firmware": "whatsminer-v3"},
    ]


async def test_every_miner_is_read_and_an_estimate_is_marked(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP)) as parts:
        summary = await parts.run(2)
        assert summary.miners_reachable == 4
        by_model = {line.model: line for line in summary.miners}
        assert by_model["antminer-s19-pro"].power_is_estimate
        assert not by_model["whatsminer-m30s-plus-plus"].power_is_estimate
        for line in summary.miners:
            truth = parts.farm.machines[line.address].state()
            assert line.hashrate_ths is not None
            assert abs(line.hashrate_ths - truth.hashrate_ths) < 0.06 * truth.hashrate_ths
            assert line.power_w is not None
            assert abs(line.power_w - truth.power_w) < 0.25 * truth.power_w


async def test_at_a_dear_price_a_stop_is_proposed_applied_and_confirmed(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        proposed = parts.proposed()
        assert len(proposed) == 4
        assert all(one.proposed.setting().stops_hashing for one in proposed)
        assert all(one.why.model_is_fallback and "profile" in one.why.model for one in proposed)
        for one in proposed:
            parts.approve(one)
        await settle(parts)
        acts = parts.store.acts()
        assert [act.status for act in acts] == ["confirmed"] * 4, [act.outcome for act in acts]
        assert all(machine.state().hashrate_ths == 0.0 for machine in parts.farm.machines.values())
        for act in acts:
            assert_followable(act)


async def test_while_a_plan_is_made_the_loop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, loop, turned = farm_spec(mixed()[:1], tmp_path), asyncio.get_running_loop(), threading.Event()
    answers: list[bool] = []

    def waiting(fleet: Fleet, horizon: Horizon, limits: Limits) -> Plan:
        loop.call_soon_threadsafe(turned.set)
        answers.append(turned.wait(20.0))
        return decide(fleet, horizon, limits)

    monkeypatch.setattr("agent.deciding.decision.decide", waiting)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        assert answers and all(answers)
        assert len(parts.proposed()) == 1


async def test_at_a_cheap_price_nothing_is_proposed(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP)) as parts:
        await parts.run(4)
        assert parts.proposed() == []


async def test_an_act_without_effect_is_missed_and_nothing_is_sent_again(tmp_path: Path) -> None:
    groups = [{**mixed()[2], "faults": {"ack_without_effect": True}}]
    spec = farm_spec(groups, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        parts.approve(one)
        await settle(parts, cycles=400)
        (act,) = parts.store.acts()
        assert act.acknowledged is True
        assert act.status == "rolled_back"
        assert "still hashing" in (act.outcome or "")
        assert parts.store.recommendation(one.id).status == "rolled_back"  # type: ignore[union-attr]
        assert [alert.miner_id for alert in parts.store.alerts() if alert.key.startswith("act-")] == [
            act.miner_id
        ]


async def test_a_setting_that_misses_its_prediction_is_undone(tmp_path: Path) -> None:
    # The unit has lost a board: at the new limit it hashes far below what is predicted.
    groups = [{**mixed()[2], "initial": {"power_limit_w": 3400.0}}]
    spec = farm_spec(groups, tmp_path)
    async with chain(
        spec, site_file(spec, tmp_path, tariff={"kind": "fixed", "price_usd_per_kwh": 0.30})
    ) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        lower = one.model_copy(
            update={
                "id": "lower",
                "proposed": one.proposed.model_copy(update={"knob": "power_limit_w", "value": 2500.0}),
                "expected": one.expected_current,
                "settle_s": 600.0,
            }
        )
        machine = next(iter(parts.farm.machines.values()))
        machine.set_missing_boards([0])
        [begun] = parts.cycle.actuator.begin([lower])
        await parts.cycle.actuator.transmit(begun)
        await settle(parts, cycles=400)
        undo, act = parts.store.acts()
        assert act.status in ("missed", "rolled_back")
        assert undo.rolls_back == act.id
        assert undo.target == act.before
        assert machine.state().power_limit_w == 3400.0


async def test_miners_in_trouble_are_named_and_delay_nobody(tmp_path: Path) -> None:
    faults = ("unplugged", "hang", "garbage")
    groups = [{**mixed()[2], "host": 50 + i, "faults": {fault: True}} for i, fault in enumerate(faults)]
    spec = farm_spec([*mixed(), *groups], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP)) as parts:
        summary = await parts.run(2)
        reasons = {line.address: line.unreachable_reason for line in summary.miners if not line.reachable}
        assert summary.miners_reachable == 4
        kinds = [reason.partition(":")[0] for reason in reasons.values() if reason is not None]
        assert sorted(kinds) == ["malformed", "timeout", "unreachable"]


async def test_the_last_reading_of_a_lost_miner_is_not_shown_as_current(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        before = await parts.run(2)
        assert before.miners[0].hashrate_ths
        await next(iter(parts.farm.peers.values())).close()
        line = (await parts.run(1)).miners[0]
        assert not line.reachable
        assert line.last_seen is not None
        shown = (line.hashrate_ths, line.power_w, line.profit_usd_per_day, line.current, line.proposed)
        assert shown == (None,) * 5


async def test_an_intent_left_by_a_crash_is_resolved_by_reading_and_not_sent_again(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    path = site_file(spec, tmp_path, tariff=DEAR)
    clock = ManualClock(NOON)
    async with chain(spec, path, clock) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        act = Act.model_validate(
            {
                "id": f"{one.id}-act",
                "recommendation_id": one.id,
                "site_id": one.site_id,
                "miner_id": one.miner_id,
                "status": "intended",
                "reason": "test",
                "approved_by": "test",
                "before": one.current,
                "target": one.proposed,
                "expected": one.expected,
                "expected_before": one.expected_current,
                "settle_s": one.settle_s,
                "intended_at": clock.now(),
                "confirm_by": clock.now(),
            }
        )
        parts.store.put_act(act)
        assert [left.id for left in parts.cycle.actuator.recover()] == [act.id]
        await settle(parts, cycles=200)
        machine = next(iter(parts.farm.machines.values()))
        assert machine.state().hashrate_ths > 0.0
        assert parts.store.act(act.id).status == "rolled_back"  # type: ignore[union-attr]


async def test_what_a_person_approved_too_late_is_not_applied(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        parts.clock.advance(2 * 3600.0)
        parts.approve(one)
        parts.store.put_recommendation(one.model_copy(update={"status": "expired"}))
        await parts.run(2)
        assert parts.store.acts() == []


async def test_a_clock_that_jumps_back_breaks_no_cycle(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP)) as parts:
        await parts.run(3)
        parts.clock.advance(-7200.0)
        summary = await parts.run(2)
        assert summary.miners_reachable == 4


async def settle(parts: Any, cycles: int = 120) -> None:
    """Run until no act is open and everything approved has been taken up."""
    for _ in range(cycles):
        await parts.run(1)
        await parts.cycle.dispatcher.finish()
        waiting = parts.store.recommendations("approved", "applying")
        if not waiting and not parts.store.open_acts() and parts.store.acts():
            return
    raise AssertionError(f"acts are still open: {parts.store.open_acts()}")


def assert_followable(act: Act) -> None:
    """What was expected, with which interval, what was sent, what telemetry showed."""
    assert act.expected.power_w.q10 <= act.expected.power_w.q50 <= act.expected.power_w.q90
    assert act.sent
    assert act.approved_by == "test"
    assert act.outcome
    assert act.intended_at <= act.sent_at <= act.settled_at  # type: ignore[operator]
