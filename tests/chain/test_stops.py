"""What is promised of a stop, and whether telemetry keeps it: units that stop, and one that goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from tests.chain.farms import chain, farm_spec, site_file
from tests.chain.test_cycle import DEAR, mixed, settle
from tests.chain.test_metered import metered


async def test_a_right_stop_draws_and_costs_what_was_promised(tmp_path: Path) -> None:
    # What the simulated units draw at rest is none of the profiles' figures.
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, mode="apply")) as parts:
        await parts.run(2)
        await settle(parts)
        acts = parts.store.acts()
        assert [act.status for act in acts] == ["confirmed"] * 4, [act.outcome for act in acts]
        seen = [act for act in acts if act.observed_power_w is not None]
        assert len(seen) >= 2
        for act in seen:
            power, profit = act.expected.power_w, act.expected.profit_usd_per_day
            assert power.q10 < power.q50 < power.q90 < 0.1 * act.expected_before.power_w.q50  # type: ignore[union-attr]
            assert power.q10 <= act.observed_power_w <= power.q90
            if act.observed_profit_usd_per_day is not None:
                assert profit.q10 <= act.observed_profit_usd_per_day <= profit.q90


async def test_a_unit_that_shows_itself_stopped_and_goes_on_at_its_meter_is_not_confirmed(
    tmp_path: Path,
) -> None:
    spec, path = metered(tmp_path)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"tariff": DEAR}))
    async with chain(spec, path) as parts:
        await parts.run(3)
        one = next(one for one in parts.proposed() if one.model == "antminer-s19-pro")
        address = next(m.config.address for m in parts.site.members if m.miner_id == one.miner_id)
        machine, peer = parts.farm.machines[address], parts.farm.peers[address]
        # Its figures stay those of a sleeping machine from here on.
        machine.set_work_mode("sleep")
        parts.clock.advance(600.0)
        await peer.set_faults(replace(peer.faults, frozen=True))
        await parts.run(1)
        machine.set_work_mode("normal")
        parts.clock.advance(1800.0)
        [act] = parts.cycle.actuator.begin([one])
        await parts.cycle.actuator.transmit(act)
        for _ in range(60):
            await parts.run(1)
            await parts.cycle.dispatcher.finish()
        judged = parts.store.act(act.id)
        assert judged is not None
        assert judged.status in ("missed", "rolled_back")
        assert "says that it does not hash, but draws 3" in (judged.outcome or "")
