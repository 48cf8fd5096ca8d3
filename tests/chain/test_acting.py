"""What is sent, to whom and how often: queues, lost miners, modes changed, records that cannot be written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from agent.acting import dispatch
from agent.clock import ManualClock
from agent.errors import StoreError, Unreachable
from agent.records import Act, Recommendation
from agent.telemetry import PollResult
from tests.chain.farms import NOON, Chain, chain, farm_spec, site_file
from tests.chain.test_cycle import DEAR, mixed, settle


async def test_a_miner_that_waits_for_its_turn_is_not_decided_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_CHANGES_AT_ONCE", 1)
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, mode="apply")) as parts:
        for _ in range(40):
            await parts.run(1)
            await parts.cycle.dispatcher.finish()
        assert set(Counter(act.miner_id for act in parts.store.acts()).values()) == {1}


async def test_an_approved_change_of_a_miner_that_is_lost_after_a_restart_leaves_nothing_open(
    tmp_path: Path,
) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    path = site_file(spec, tmp_path, tariff=DEAR)
    clock = ManualClock(NOON)
    async with chain(spec, path, clock) as parts:
        one = await approved(parts)
    async with chain(spec, path, clock) as parts:
        await next(iter(parts.farm.peers.values())).close()
        await parts.run(2)
        await parts.cycle.dispatcher.finish()
        assert parts.store.open_acts() == []
        assert status(parts, one) == "approved"
        await parts.run(1, 3600.0)
        await parts.cycle.dispatcher.finish()
        assert status(parts, one) == "expired"


async def test_a_driver_that_breaks_while_sending_leaves_the_act_to_be_judged_by_telemetry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        async with parts.site.exclusive(one.miner_id) as device:
            pass

        async def broken(_: object) -> object:
            raise AttributeError("a reply nobody foresaw")

        monkeypatch.setattr(device, "apply", broken)
        parts.approve(one)
        await settle(parts, cycles=200)
        assert status(parts, one) == "rolled_back"


async def test_in_observe_mode_nothing_that_was_approved_before_is_sent(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    clock = ManualClock(NOON)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR), clock) as parts:
        one = await approved(parts)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, mode="observe"), clock) as parts:
        await parts.run(2)
        await parts.cycle.dispatcher.finish()
        assert parts.store.acts() == []
        assert status(parts, one) == "superseded"


async def test_what_was_approved_before_another_change_of_the_miner_is_not_sent(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    clock = ManualClock(NOON)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR), clock) as parts:
        one = await approved(parts)
        clock.advance(60.0)
        values = {
            "id": "by-another-way",
            "recommendation_id": None,
            "site_id": one.site_id,
            "miner_id": one.miner_id,
            "status": "confirmed",
            "reason": "a change of which the recommendation knew nothing",
            "approved_by": "test",
            "before": one.current,
            "target": one.current,
            "expected": one.expected,
            "intended_at": clock.now(),
            "confirm_by": clock.now(),
            "settled_at": clock.now(),
        }
        parts.store.put_act(Act.model_validate(values))
        await parts.run(1)
        await parts.cycle.dispatcher.finish()
        assert [act.id for act in parts.store.acts()] == ["by-another-way"]
        assert status(parts, one) == "superseded"
        assert "hold and restart budget are weighed anew" in said(parts, one)


async def test_what_was_approved_for_a_setting_that_a_person_has_changed_since_is_not_sent(
    tmp_path: Path,
) -> None:
    spec = farm_spec([{**mixed()[2], "initial": {"power_limit_w": 3400.0}}], tmp_path)
    clock = ManualClock(NOON)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR), clock) as parts:
        one = await approved(parts)
        (machine,) = parts.farm.machines.values()
        machine.set_power_limit(3000.0)
        await parts.run(1)
        await parts.cycle.dispatcher.finish()
        assert parts.store.acts() == []
        assert status(parts, one) == "superseded"
        assert "at power_limit_w=3000 now and no longer at power_limit_w=3400" in said(parts, one)


async def test_an_approval_of_what_was_taken_back_meanwhile_is_not_sent_and_says_so(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        parts.store.put_recommendation(one.model_copy(update={"status": "superseded"}))
        parts.approve(one)
        await parts.run(1)
        assert parts.store.acts() == []
        assert said(parts, one) == "approved by test when it was superseded already"


async def test_what_was_approved_waits_while_nothing_is_to_be_changed(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    limits = {"minimum_hold_h": 2.0, "quiet_hours": [{"from": "12:01", "to": "12:30"}]}
    longer = {"interval_s": 60.0, "recommendation_ttl_s": 7200.0}
    clock = ManualClock(NOON)
    path = site_file(spec, tmp_path, tariff=DEAR, limits=limits, decide=longer)
    async with chain(spec, path, clock) as parts:
        one = await approved(parts)
        await parts.run(20, 60.0)
        await parts.cycle.dispatcher.finish()
        assert parts.store.acts() == []
        assert status(parts, one) == "approved"
        await parts.run(12, 60.0)
        await parts.cycle.dispatcher.finish()
        (act,) = parts.store.acts()
        assert act.recommendation_id == one.id
        assert act.intended_at.minute >= 30


async def test_what_waits_for_quiet_hours_to_end_until_it_expires_says_so(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    limits = {"minimum_hold_h": 2.0, "quiet_hours": [{"from": "12:01", "to": "18:00"}]}
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, limits=limits)) as parts:
        one = await approved(parts)
        await parts.run(2)
        await parts.run(1, 3600.0)
        assert parts.store.acts() == []
        assert (status(parts, one), said(parts, one)) == ("expired", "not sent: quiet hours")


async def test_an_approval_that_cannot_be_written_is_taken_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        parts.approve(one)
        write = parts.store.put_recommendation

        def full(recommendation: Recommendation) -> None:
            if recommendation.status == "approved":
                raise StoreError("disk is full")
            write(recommendation)

        with monkeypatch.context() as patched:
            patched.setattr(parts.store, "put_recommendation", full)
            with pytest.raises(StoreError):
                await parts.run(1)
        await settle(parts)
        assert status(parts, one) == "confirmed"


async def test_a_missed_act_and_its_undo_are_journalled_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [{**mixed()[2], "initial": {"power_limit_w": 3400.0}}]
    spec = farm_spec(groups, tmp_path)
    dear = {"kind": "fixed", "price_usd_per_kwh": 0.30}
    async with chain(spec, site_file(spec, tmp_path, tariff=dear)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        proposed = one.proposed.model_copy(update={"knob": "power_limit_w", "value": 2500.0})
        update = {"id": "lower", "proposed": proposed, "expected": one.expected_current, "settle_s": 600.0}
        lower = one.model_copy(update=update)
        # The unit loses a board: at the new limit it hashes far below what is predicted.
        next(iter(parts.farm.machines.values())).set_missing_boards([0])
        [begun] = parts.cycle.actuator.begin([lower])
        await parts.cycle.actuator.transmit(begun)
        write = parts.store.put_act

        def full_at_the_undo(act: Act) -> None:
            if act.rolls_back is not None:
                raise StoreError("disk is full")
            write(act)

        with monkeypatch.context() as patched:
            patched.setattr(parts.store, "put_act", full_at_the_undo)
            with pytest.raises(StoreError):
                await settle(parts, cycles=400)
            (act,) = parts.store.acts()
            assert act.status == "sent"
        await settle(parts, cycles=400)
        undo, act = parts.store.acts()
        assert undo.rolls_back == act.id


async def test_an_act_whose_answer_could_not_be_stored_is_judged_by_telemetry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        parts.approve(one)
        write = parts.store.put_act

        def full_after_sending(act: Act) -> None:
            if act.status == "sent":
                raise StoreError("disk is full")
            write(act)

        with monkeypatch.context() as patched:
            patched.setattr(parts.store, "put_act", full_after_sending)
            await parts.run(1)
            await parts.cycle.dispatcher.finish()
        await settle(parts)
        assert status(parts, one) == "confirmed"


async def test_stops_do_not_wait_for_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_CHANGES_AT_ONCE", 0)
    ruinous = {"kind": "fixed", "price_usd_per_kwh": 2.0}
    spec = farm_spec([{**mixed()[2], "count": 4}], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=ruinous, mode="apply")) as parts:
        await parts.run(2)
        await parts.cycle.dispatcher.finish()
        assert [act.target.knob for act in parts.store.acts()] == ["stop"] * 4


async def test_an_approval_is_not_lost_when_the_next_round_looks_elsewhere(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (one,) = parts.proposed()
        parts.approve(one)
        machine = next(iter(parts.farm.peers.values()))
        await machine.close()
        await parts.run(3)
        await parts.cycle.dispatcher.finish()
        assert status(parts, one) == "failed"


async def test_what_a_change_under_way_will_draw_counts_against_the_cap(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[1:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        one, _ = parts.proposed()
        more = one.expected.power_w.model_copy(update={"q50": 9000.0, "q90": 9000.0})
        expected = one.expected.model_copy(update={"power_w": more})
        update = {"status": "approved", "expected": expected}
        [begun] = parts.cycle.actuator.begin([one.model_copy(update=update)])
        await parts.cycle.actuator.transmit(begun)
        await parts.run(2)
        assert parts.cycle._round is not None
        assert parts.cycle._round.plan.upper_power_w >= 9000.0


async def test_a_miner_that_moves_to_the_address_of_another_breaks_no_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = farm_spec([{**mixed()[2], "count": 2}], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        here, gone = parts.site.members
        mac, poll = gone.miner_id, parts.site.poller.poll_once

        async def moved() -> list[PollResult]:
            first, second = await poll()
            assert first.reading is not None
            error = Unreachable(gone.config.address, "no route")
            reading = replace(first.reading, mac=mac)
            return [replace(first, reading=reading), replace(second, reading=None, error=error)]

        monkeypatch.setattr(parts.site.poller, "poll_once", moved)
        await parts.run(1)
        assert [here.miner_id, gone.miner_id] == [mac, gone.config.address]
        assert parts.site.find(mac) is here


async def approved(parts: Chain) -> Recommendation:
    """The one proposal, approved just before the agent stops."""
    await parts.run(2)
    (one,) = parts.proposed()
    decided = one.model_copy(
        update={"status": "approved", "decided_by": "test", "decided_at": parts.clock.now()}
    )
    parts.store.put_recommendation(decided)
    return decided


def status(parts: Chain, one: Recommendation) -> str:
    """What became of a recommendation."""
    found = parts.store.recommendation(one.id)
    assert found is not None
    return found.status


def said(parts: Chain, one: Recommendation) -> str:
    """Why a recommendation was not sent."""
    found = parts.store.recommendation(one.id)
    assert found is not None and found.outcome is not None
    return found.outcome
