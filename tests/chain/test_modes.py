"""What a site's mode, caps and overrides let the agent do."""

from __future__ import annotations

from pathlib import Path

from tests.chain.farms import chain, farm_spec, site_file
from tests.chain.test_cycle import CHEAP, DEAR, mixed, settle


async def test_in_apply_mode_it_acts_by_itself_and_says_so(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, mode="apply")) as parts:
        await settle(parts)
        acts = parts.store.acts()
        assert [act.status for act in acts] == ["confirmed"] * 4
        assert {act.approved_by for act in acts} == {"automatic (mode apply)"}


async def test_in_observe_mode_nothing_is_proposed_and_the_reason_is_shown(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR, mode="observe")) as parts:
        summary = await parts.run(2)
        assert parts.proposed() == []
        assert {line.why for line in summary.miners} == {"mode observe"}


async def test_the_most_careful_of_several_tags_decides(tmp_path: Path) -> None:
    groups = [{**mixed()[2], "tags": ["new", "tuned"]}]
    spec = farm_spec(groups, tmp_path)
    changes = {"tariff": DEAR, "mode": "apply", "modes_by_tag": {"new": "observe", "tuned": "apply"}}
    async with chain(spec, site_file(spec, tmp_path, **changes)) as parts:
        await parts.run(3)
        assert parts.store.acts() == []


async def test_over_the_cap_curtailment_is_proposed_and_the_cap_named(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    limits = {"power_cap_w": 9000.0, "minimum_hold_h": 2.0}
    async with chain(spec, site_file(spec, tmp_path, tariff=CHEAP, limits=limits)) as parts:
        await parts.run(2)
        proposed = parts.proposed()
        assert proposed
        assert {one.type for one in proposed} == {"curtailment"}
        assert all(any("cap of 9 kW" in words for words in one.why.binds) for one in proposed)
        less = sum(
            one.expected_current.power_w.q50 - one.expected.power_w.q50
            for one in proposed
            if one.expected_current is not None
        )
        drawn = sum(machine.state().power_w for machine in parts.farm.machines.values())
        assert drawn - less < 9000.0


async def test_a_site_override_narrows_what_is_proposed(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    bounds = {"whatsminer-m30s-plus-plus": {"may_stop": False, "power_limit_w": {"minimum": 3000.0}}}
    changes = {"tariff": DEAR, "bounds_by_model": bounds}
    async with chain(spec, site_file(spec, tmp_path, **changes)) as parts:
        await parts.run(2)
        for one in parts.proposed():
            setting = one.proposed.setting()
            assert not setting.stops_hashing
            assert str(setting.knob) != "power_limit_w" or float(setting.value or 0) >= 3000.0


async def test_an_unknown_price_moves_nothing(tmp_path: Path) -> None:
    spec = farm_spec(mixed(), tmp_path)
    (tmp_path / "prices.csv").write_text(
        "time_utc,price_usd_per_kwh\n2026-02-01T00:00Z,0.9\n2026-02-01T01:00Z,0.9\n"
    )
    tariff = {"kind": "series", "path": str(tmp_path / "prices.csv")}
    async with chain(spec, site_file(spec, tmp_path, tariff=tariff)) as parts:
        summary = await parts.run(2)
        assert parts.proposed() == []
        assert {line.why for line in summary.miners} == {"electricity price unknown or too old"}
        assert summary.profit_usd_per_day is None


async def test_a_closed_write_api_is_named_and_nothing_is_proposed(tmp_path: Path) -> None:
    groups = [{**mixed()[3], "write_enabled": False}]
    spec = farm_spec(groups, tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        summary = await parts.run(2)
        assert parts.proposed() == []
        assert "write access is closed" in (summary.miners[0].why or "")
        assert "Enable" in (summary.miners[0].why or "") or "enable" in (summary.miners[0].why or "")


async def test_a_proposal_that_stands_is_not_recorded_every_round(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    async with chain(spec, site_file(spec, tmp_path, tariff=DEAR)) as parts:
        await parts.run(2)
        (first,) = parts.proposed()
        await parts.run(10, seconds=60.0)
        (still,) = parts.proposed()
        assert still.id == first.id
        written = [e for e in parts.store.pending(1000) if e.kind == "recommendation"]
        assert len(written) <= 2
        await parts.run(40, seconds=60.0)
        (renewed,) = parts.proposed()
        assert renewed.id == first.id
        assert renewed.expires_at > first.expires_at
