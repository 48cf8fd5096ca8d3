"""Prices that die on a running site: nothing moves, a person is told once, and once when they are back."""

from __future__ import annotations

from pathlib import Path

from agent.clock import ManualClock
from agent.sources.table import cache_path, table_of, write_table
from agent.sources.watch import PriceWatch
from tests.chain.farms import NOON, Chain, chain, farm_spec, site_file
from tests.chain.test_cycle import mixed

SOURCE = {
    "name": "spot",
    "kind": "http_json",
    "url": "http://127.0.0.1:9/spot",
    "columns": {"price_usd_per_kwh": {"value": "price"}},
}


def told(parts: Chain) -> list[str]:
    return [alert.text for alert in parts.store.alerts() if alert.key.startswith("prices-")]


def fetched(parts: Chain, hours_ago: int, usd_per_kwh: float) -> None:
    """What a source has brought: hourly prices that ended some hours ago, none like the one before."""
    end_s = parts.clock.now().timestamp() - 3600.0 * hours_ago
    rows = [(end_s - 3600.0 * k, usd_per_kwh + 1e-4 * k) for k in range(24)]
    write_table(cache_path(parts.config.state_dir, "spot"), table_of(rows, "price_usd_per_kwh", "spot"))


async def test_a_price_that_grew_old_moves_no_miner_and_is_told_until_it_is_back(tmp_path: Path) -> None:
    spec = farm_spec(mixed()[2:3], tmp_path)
    tariff = {"kind": "series", "source": "spot", "horizon": "real_time"}
    path = site_file(spec, tmp_path, tariff=tariff, sources=[SOURCE], mode="apply")
    async with chain(spec, path, ManualClock(NOON)) as parts:
        fetched(parts, 5, 3.0)
        await parts.run(2)
        assert told(parts) == []
        await parts.run(4)
        (words,) = told(parts)
        assert words.startswith("electricity: source spot ended 5 h ago, over the limit of 2 h")
        assert words.endswith("no miner is moved")
        assert parts.store.acts() == []
        fetched(parts, 0, 3.0)
        await parts.run(4)
        await parts.cycle.dispatcher.finish()
        assert told(parts) == []
        assert [act.target.knob for act in parts.store.acts()] == ["stop"]


def test_what_stood_open_before_a_restart_is_closed_once_it_is_over() -> None:
    watch = PriceWatch({"prices-electricity": "old", "health-a01": "not ours"})
    (found,) = watch.look({"source-spot": "answers 500"})
    assert (found.key, found.cleared) == ("prices-electricity", True)
    later = [watch.look({"source-spot": "answers 500"}) for _ in range(5)]
    assert [len(each) for each in later] == [0, 0, 1, 0, 0]
