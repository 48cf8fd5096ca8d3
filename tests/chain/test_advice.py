"""Advice on a running site: found by the cycle, answered by a person, never sent to a miner."""

from __future__ import annotations

from pathlib import Path

from agent.records import Recommendation
from agent.store import Store
from tests.chain.farms import Chain, chain, farm_spec, site_file

CHEAP = {"kind": "fixed", "price_usd_per_kwh": 0.01}
ADVICE = {"interval_s": 300.0}


def advice(store: Store, *statuses: str) -> list[Recommendation]:
    return [one for one in store.recommendations(*statuses) if one.advice is not None]


def lose_a_board(parts: Chain) -> None:
    for machine in parts.farm.machines.values():
        machine.set_missing_boards([2])


async def test_a_lost_board_is_advised_once_and_approving_it_sends_nothing(tmp_path: Path) -> None:
    spec = farm_spec([{"model": "antminer-s19-pro", "host": 10, "firmware": "antminer-legacy"}], tmp_path)
    site = site_file(spec, tmp_path, tariff=CHEAP, advice=ADVICE, mode="apply")
    async with chain(spec, site) as parts:
        await parts.run(3)
        assert advice(parts.store) == []
        lose_a_board(parts)
        await parts.run(45)
        (one,) = advice(parts.store, "proposed")
        assert one.type == "maintenance"
        assert one.gain_usd_per_day.q10 > 0.0
        # It reports no watts, and its lost board draws none.
        assert one.expected_current is not None
        assert 0.6 * 3250.0 < one.expected_current.power_w.q50 < 0.8 * 3250.0
        assert one.steps
        before = len(parts.store.acts())
        parts.approve(one)
        await parts.run(30)
        (answered,) = advice(parts.store)
        assert answered.status == "approved"
        assert answered.decided_by == "test"
        assert [act for act in parts.store.acts() if act.recommendation_id == one.id] == []
        assert len(parts.store.acts()) == before


async def test_advice_and_a_change_of_setting_stand_side_by_side(tmp_path: Path) -> None:
    spec = farm_spec(
        [{"model": "whatsminer-m30s-plus-plus", "host": 30, "firmware": "whatsminer-v2"}], tmp_path
    )
    dear = {"kind": "fixed", "price_usd_per_kwh": 0.30}
    async with chain(spec, site_file(spec, tmp_path, tariff=dear, advice=ADVICE)) as parts:
        await parts.run(2)
        (stop,) = parts.proposed()
        piece = stop.model_copy(update={"id": "x", "type": "maintenance", "expires_at": stop.expires_at})
        parts.store.put_recommendation(piece)
        summary = await parts.run(4)
        assert {one.id for one in parts.proposed()} == {stop.id, "x"}
        assert summary.miners[0].recommendation_id == stop.id
