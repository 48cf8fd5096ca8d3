"""The month's peak on a running site: measured from what miners draw, kept over a crash, by local month."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.clock import ManualClock
from agent.cycle import Cycle
from agent.money.economics import Economics
from agent.planner.snapshot import ROUND_STATE, unpack
from tests.chain.farms import Chain, chain, farm_spec, site_file

TARIFF = {
    "kind": "fixed",
    "price_usd_per_kwh": 0.05,
    "timezone": "America/Chicago",
    "demand": {"usd_per_kw_month": 10.0, "window_minutes": 15},
}
# April begins in Chicago 36 minutes later; in UTC it has begun long ago.
BEFORE_APRIL = datetime(2026, 4, 1, 4, 24, tzinfo=UTC)
# Plans are not what is looked at here, and weighing a peak takes several.
SELDOM = {"interval_s": 3600.0}
M30S = [{"model": "whatsminer-m30s-plus-plus", "host": 30, "firmware": "whatsminer-v2"}]


def after_a_crash(parts: Chain) -> Cycle:
    """The cycle of an agent that starts anew on what the store holds; the one before never shut down."""
    return Cycle(parts.config, parts.site, parts.store, Economics(parts.config), parts.clock)


def peak_kw(parts: Chain) -> float:
    """The peak of this month that a plan made now would weigh."""
    assert parts.cycle._demand is not None
    return parts.cycle._demand.charge(parts.clock.now()).peak_w / 1000.0


async def drawn_kw(parts: Chain, minutes: int) -> list[float]:
    """What the site draws in each of the next minutes, cooling included."""
    return [1.1 * (await parts.run(1, 60.0)).power_w / 1000.0 for _ in range(minutes)]


async def test_the_peak_of_the_month_is_kept_over_a_crash_and_ends_with_the_local_month(
    tmp_path: Path,
) -> None:
    spec = farm_spec(M30S, tmp_path)
    changes = {"tariff": TARIFF, "mode": "observe", "decide": SELDOM, "limits": {"pue": 1.1}}
    path = site_file(spec, tmp_path, **changes)
    async with chain(spec, path, ManualClock(BEFORE_APRIL)) as parts:
        (machine,) = parts.farm.machines.values()
        await drawn_kw(parts, 7)
        assert peak_kw(parts) == 0.0, "of the window from 04:15 five minutes were seen"
        seen = await drawn_kw(parts, 15)
        reached = peak_kw(parts)
        assert min(seen) * 0.98 <= reached <= max(seen) * 1.02
        parts.cycle = after_a_crash(parts)
        assert peak_kw(parts) == reached
        await drawn_kw(parts, 1)
        stored = parts.store.state(ROUND_STATE)
        assert stored is not None
        # The window from 04:30 UTC, in Chicago's time.
        charge = unpack(stored).charge
        assert charge is not None and charge.words.endswith("(set on 31 Mar 23:30), costs 10 USD/kW")
        machine.power_off()
        await drawn_kw(parts, 12)
        assert peak_kw(parts) == reached
        # 04:59 UTC is still March there; 05:00 is April, whose peak is that of a site that stands still.
        assert parts.cycle._demand is not None and parts.cycle._demand.month == "2026-03"
        await drawn_kw(parts, 1)
        assert peak_kw(parts) == 0.0
        seen = await drawn_kw(parts, 16)
        assert 0.0 < peak_kw(parts) <= max(seen) * 1.02 < 0.5 * reached


async def test_a_window_that_a_crash_cuts_in_two_counts_whole(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    path = site_file(spec, tmp_path, tariff=TARIFF, mode="observe", decide=SELDOM)
    async with chain(spec, path, ManualClock(BEFORE_APRIL.replace(minute=29))) as parts:
        await drawn_kw(parts, 7)
        parts.cycle._save()
        parts.cycle = after_a_crash(parts)
        # Neither half is long enough to count by itself.
        parts.clock.advance(120.0)
        seen = await drawn_kw(parts, 7)
        assert peak_kw(parts) == pytest.approx(seen[-2] / 1.1, rel=0.1)


async def test_a_site_of_which_nothing_is_known_has_not_drawn_nothing(tmp_path: Path) -> None:
    spec = farm_spec(M30S, tmp_path)
    path = site_file(spec, tmp_path, tariff=TARIFF, mode="observe", decide=SELDOM)
    async with chain(spec, path, ManualClock(BEFORE_APRIL.replace(minute=29))) as parts:
        await drawn_kw(parts, 8)
        await next(iter(parts.farm.peers.values())).close()
        await drawn_kw(parts, 8)
        # The minutes that were not seen count as drawn like those that were.
        assert peak_kw(parts) > 2.5
