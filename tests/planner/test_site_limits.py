"""The limits of a site file: what is refused and why, and the arrays that come out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.config import SiteConfig, load_site
from agent.errors import ConfigError
from agent.site_limits import demand_events, power_tree, protected, rests, weights

INF = float("inf")
START = datetime(2026, 8, 3, 6, tzinfo=UTC)
HEAD = """
site: {id: hall}
market: {hashprice_usd_per_ths_day: 0.05}
tariff: {kind: fixed, price_usd_per_kwh: 0.05}
"""
MINERS = """
miners:
  - {address: 192.0.2.1, tags: [row-a]}
  - {address: 192.0.2.2, tags: [row-a, customer]}
  - {address: 192.0.2.3, circuit: row-b}
  - {address: 192.0.2.4}
"""
CIRCUITS = """
limits:
  power_cap_w: 60000
  ramp_up_kw_per_min: 60
  circuits:
    - {name: row-a, parent: container, power_cap_w: 25000, minimum_load_w: 5000, tags: [row-a]}
    - {name: container, power_cap_w: 40000, ramp_down_kw_per_min: 30}
    - {name: row-b, parent: container}
"""


def site(tmp_path: Path, limits: str = CIRCUITS, miners: str = MINERS) -> SiteConfig:
    path = tmp_path / "site.yaml"
    path.write_text(HEAD + limits + miners)
    return load_site(path)


def test_a_site_file_becomes_a_tree_with_parents_first(tmp_path: Path) -> None:
    config = site(tmp_path)
    tree = power_tree(config.limits, config.miners)
    assert tree.names == ("site", "container", "row-a", "row-b")
    assert tree.parent.tolist() == [-1, 0, 1, 1]
    assert [tree.names[g] for g in tree.leaf] == ["row-a", "row-a", "row-b", "site"]
    assert tree.cap_w.tolist() == [60_000.0, 40_000.0, 25_000.0, INF]
    assert tree.floor_w.tolist() == [-INF, -INF, 5_000.0, -INF]
    assert tree.ramp_up_w_per_s == pytest.approx([1000.0, INF, INF, INF])
    assert tree.ramp_down_w_per_s == pytest.approx([INF, 500.0, INF, INF])
    assert tree.limited


def test_a_site_without_limits_is_one_place(tmp_path: Path) -> None:
    config = site(tmp_path, limits="", miners=MINERS.replace(", circuit: row-b", ""))
    tree = power_tree(config.limits, config.miners)
    assert tree.names == ("site",)
    assert tree.leaf.tolist() == [0] * 4
    assert not tree.limited


def test_tags_of_a_circuit_and_of_one_inside_it_mean_the_inner_one(tmp_path: Path) -> None:
    limits = """
limits:
  circuits:
    - {name: container, tags: [row-a]}
    - {name: row, parent: container, tags: [customer]}
"""
    config = site(tmp_path, limits, MINERS.replace(", circuit: row-b", ""))
    tree = power_tree(config.limits, config.miners)
    assert [tree.names[g] for g in tree.leaf] == ["container", "row", "site", "site"]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("circuits: [{name: a, parent: b}]", "parent b is not a circuit of this site; known are site, a"),
        ("circuits: [{name: a, parent: b}, {name: b, parent: a}]", "a lies inside itself by way of b"),
        ("circuits: [{name: site}]", "name site is the whole site; write its limits directly under limits"),
        ("circuits: [{name: a}, {name: a}]", "name a already stands above"),
        (
            "circuits: [{name: a, tags: [row-a]}, {name: b, tags: [customer]}]",
            "miners.1: its tags row-a, customer fit the circuits a and b; write circuit: at the miner",
        ),
        ("circuits: [{name: a, power_cap_w: 10, minimum_load_w: 20}]", "minimum_load_w 20 lies above"),
        ("circuits: [{name: a, tags: [row-z]}]", "limits.circuits.0: no miner has the tag row-z"),
        ("priorities: {vip: 2}", "limits.priorities: no miner has the tag vip; add it to a miner or remove"),
        ("priorities: {customer: 0}", "greater than 0"),
        ("never_curtail: [vip]", "limits.never_curtail: no miner has the tag vip"),
        (
            "demand_events: [{start: 2026-07-01T10:00:00Z, end: 2026-07-01T09:00:00Z, target_w: 1}]",
            "end must be later than start",
        ),
        (
            "demand_events: [{start: 2026-07-01T10:00:00, end: 2026-07-01T12:00:00, target_w: 1}]",
            "should have timezone info",
        ),
        (
            "demand_events: [{start: 2026-07-01T10:00:00Z, end: 2026-07-01T12:00:00Z, target_w: 1,"
            " payment_usd_per_kwh: 1}]",
            "payment_usd_per_kwh needs baseline_w",
        ),
        (
            "demand_events: [{start: 2026-07-01T10:00:00Z, end: 2026-07-01T12:00:00Z, target_w: 1,"
            " mandatory: false}]",
            "without money there is nothing to weigh",
        ),
        (
            "demand_events: [{start: 2026-07-01T10:00:00Z, end: 2026-07-01T12:00:00Z, target_w: 1,"
            " circuit: roof}]",
            "demand_events.0: roof is not a circuit of this site",
        ),
        (
            "maintenance: [{start: 2026-07-01T10:00:00Z, end: 2026-07-01T12:00:00Z}]",
            "needs circuits, tags or both",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(tmp_path: Path, limits: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        site(tmp_path, f"limits:\n  {limits}\n", MINERS.replace(", circuit: row-b", ""))
    assert words in str(caught.value)
    assert "site.yaml" in str(caught.value)


def test_a_miner_on_a_circuit_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"miners\.2: circuit row-b does not stand under limits\.circuits"):
        site(tmp_path, limits="")


def test_miners_of_the_inventory_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text("miners:\n  - {address: 192.0.2.9, circuit: roof}\n")
    with pytest.raises(ConfigError, match=r"circuit roof does not stand"):
        site(tmp_path, CIRCUITS + "inventory: inventory.yaml\n")


def test_the_highest_weight_among_a_miners_tags_counts(tmp_path: Path) -> None:
    config = site(
        tmp_path, CIRCUITS + "  priorities: {row-a: 0.5, customer: 3}\n  never_curtail: [customer]\n"
    )
    assert weights(config.limits, config.miners).tolist() == [0.5, 3.0, 1.0, 1.0]
    assert protected(config.limits, config.miners).tolist() == [False, True, False, False]


def test_events_come_in_order_and_only_those_that_are_known(tmp_path: Path) -> None:
    limits = """
limits:
  demand_events:
    - {start: 2026-08-04T10:00:00+02:00, end: 2026-08-04T12:00:00+02:00, target_w: 1000}
    - {start: 2026-08-03T08:00:00Z, end: 2026-08-03T09:00:00Z, target_w: 2000, notice_s: 3600}
    - {start: 2026-08-03T05:00:00Z, end: 2026-08-03T06:00:00Z, target_w: 3000}
"""
    config = site(tmp_path, limits, MINERS.replace(", circuit: row-b", ""))
    targets = [event.target_w for event in demand_events(config.limits, START)]
    assert targets == [1000.0]
    later = demand_events(config.limits, START + timedelta(hours=1))
    assert [event.target_w for event in later] == [2000.0, 1000.0]
    assert np.isnan(later[0].baseline_w)


def test_quiet_hours_and_maintenance_leave_miners_alone(tmp_path: Path) -> None:
    config = site(
        tmp_path,
        CIRCUITS
        + """
  quiet_hours:
    - {from: "23:00", to: "01:00"}
  maintenance:
    - {start: 2026-08-03T05:00:00Z, end: 2026-08-03T07:30:00Z, tags: [customer], reason: fan}
    - {start: 2026-08-03T09:00:00Z, end: 2026-08-03T10:00:00Z, circuits: [container], action: "off"}
""",
    )
    tree = power_tree(config.limits, config.miners)
    # 06:00 to 24:00 UTC is 02:00 to 20:00 in New York; its quiet hours begin at 03:00 UTC.
    found = rests(config.limits, config.miners, tree, START, 3600.0, 24, "America/New_York")
    assert found.reason == (None, "maintenance until 2026-08-03 07:30 UTC: fan", None, None)
    changes = found.may_change
    assert np.flatnonzero(~changes[3]).tolist() == [21, 22]
    assert np.flatnonzero(~changes[1]).tolist() == [0, 1, 3, 21, 22]
    assert np.flatnonzero(found.off.any(axis=0)).tolist() == [3]
    assert found.off[:, 3].tolist() == [True, True, True, False]


def test_in_quiet_hours_everybody_says_so(tmp_path: Path) -> None:
    config = site(tmp_path, CIRCUITS + '  quiet_hours: [{from: "06:00", to: "07:00"}]\n')
    tree = power_tree(config.limits, config.miners)
    found = rests(config.limits, config.miners, tree, START, 300.0, 13)
    assert found.reason == ("quiet hours",) * 4
    assert found.may_change[0].tolist() == [False] * 12 + [True]
