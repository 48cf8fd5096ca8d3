"""Which entry a miner belongs to: by MAC, never by a guess."""

from __future__ import annotations

import pytest

from agent.discovery.changes import Plan, plan_changes
from agent.discovery.ranges import parse_ranges
from agent.discovery.scan import Found
from agent.hardware.catalogue import Catalogue
from agent.miner_config import MinerConfig

ALL = parse_ranges(["10.0.0.0/24"])
A, B, C = "02:63:00:00:00:0a", "02:63:00:00:00:0b", "02:63:00:00:00:0c"


def entry(host: int | str, **more: object) -> MinerConfig:
    address = f"10.0.0.{host}" if isinstance(host, int) else host
    return MinerConfig.model_validate({"id": f"m{host}", "address": address, **more})


def found(host: int, mac: str | None, family: str = "antminer-stock", **more: object) -> Found:
    return Found(f"10.0.0.{host}", family, mac=mac, **more)  # type: ignore[arg-type]


def plan(entries: list[MinerConfig], miners: list[Found], complete: bool = True) -> Plan:
    return plan_changes(entries, miners, Catalogue.load(), searched=ALL if complete else None)


def kinds(what: Plan) -> list[tuple[str, str | None]]:
    return [(change.kind, change.miner) for change in what.changes]


def test_a_miner_where_it_was_changes_nothing() -> None:
    what = plan([entry(1, mac=A)], [found(1, A)])
    assert (what.changes, what.updates, what.additions, what.unchanged) == ((), {}, (), 1)


def test_a_new_miner_is_named_after_its_model_and_mac() -> None:
    what = plan([], [found(1, "02:63:00:A1:B2:C3".lower(), model="Antminer S19 XP")])
    assert what.additions == (
        {
            "id": "s19-xp-a1b2c3",
            "address": "10.0.0.1",
            "mac": "02:63:00:a1:b2:c3",
            "family": "antminer-stock",
            "model": "antminer-s19-xp",
        },
    )


def test_a_model_without_profile_names_the_miner_and_is_left_for_the_agent_to_find_out() -> None:
    what = plan([], [found(1, A, model="Antminer Z99+ <b>")])
    assert what.additions[0]["id"] == "z99-plus-b-00000a"
    assert "model" not in what.additions[0]


def test_two_new_miners_with_the_same_last_bytes_get_different_names() -> None:
    what = plan([], [found(1, "02:63:00:00:00:0a"), found(2, "02:64:00:00:00:0a")])
    assert [new["id"] for new in what.additions] == ["stock-00000a", "stock-02640000000a"]


def test_a_miner_at_a_new_address_takes_its_entry_along() -> None:
    what = plan([entry(1, mac=A)], [found(7, A)])
    assert what.updates == {0: {"address": "10.0.0.7"}}
    assert kinds(what) == [("moved", "m1")]


def test_two_miners_that_exchanged_addresses_both_move() -> None:
    what = plan([entry(1, mac=A), entry(2, mac=B)], [found(2, A), found(1, B)])
    assert what.updates == {0: {"address": "10.0.0.2"}, 1: {"address": "10.0.0.1"}}


def test_a_move_onto_an_absent_miners_address_is_a_conflict_and_neither_changes() -> None:
    what = plan([entry(1, mac=A), entry(2, mac=B)], [found(2, A)])
    assert what.updates == {}
    assert kinds(what) == [("conflict", "m1"), ("not_seen", "m2")]


def test_a_move_that_waits_for_a_blocked_one_is_blocked_too() -> None:
    entries = [entry(1, mac=A), entry(2, mac=B), entry(3, mac=C)]
    what = plan(entries, [found(2, A), found(3, B)])
    assert what.updates == {}
    assert [kind for kind, _ in kinds(what)] == ["conflict", "conflict", "not_seen"]


def test_a_new_miner_on_the_address_that_another_left_is_added() -> None:
    what = plan([entry(1, mac=A)], [found(7, A), found(1, B)])
    assert what.updates == {0: {"address": "10.0.0.7"}}
    assert [new["address"] for new in what.additions] == ["10.0.0.1"]


def test_a_stranger_on_an_absent_miners_address_is_a_conflict_and_is_not_added() -> None:
    what = plan([entry(1, mac=A)], [found(1, B)])
    assert (what.updates, what.additions) == ({}, ())
    assert kinds(what) == [("conflict", "m1"), ("not_seen", "m1")]
    assert A in what.changes[0].detail
    assert B in what.changes[0].detail


def test_an_entry_made_by_hand_gets_its_mac() -> None:
    what = plan([entry(1)], [found(1, A)])
    assert what.updates == {0: {"mac": A}}
    assert kinds(what) == [("identified", "m1")]


def test_a_mac_at_two_addresses_is_bound_to_neither() -> None:
    what = plan([entry(1, mac=A), entry(2)], [found(1, A), found(2, A)])
    assert (what.updates, what.additions) == ({}, ())
    assert kinds(what) == [("conflict", "m1")]


def test_new_miners_that_share_a_mac_are_not_added() -> None:
    what = plan([], [found(1, A), found(2, A), found(3, B)])
    assert [new["mac"] for new in what.additions] == [B]


def test_a_miner_without_mac_is_matched_by_address_and_flagged() -> None:
    what = plan([entry(1, mac=A)], [found(1, None)])
    assert (what.updates, what.additions) == ({}, ())
    assert kinds(what) == [("unverified", "m1")]


def test_a_new_miner_without_mac_is_added_under_its_address_and_flagged() -> None:
    what = plan([], [found(9, None, model="Antminer S19 XP")])
    assert what.additions[0]["id"] == "s19-xp-10-0-0-9"
    assert "mac" not in what.additions[0]
    assert "by its address only" in what.changes[0].detail


def test_a_host_that_only_looks_like_a_miner_is_told_and_not_added() -> None:
    what = plan([], [found(9, None, identified=False, problem="404")])
    assert what.additions == ()
    assert kinds(what) == [("unclear", None)]


def test_an_absent_miner_is_kept_and_named() -> None:
    what = plan([entry(1, mac=A)], [])
    assert what.updates == {}
    assert kinds(what) == [("not_seen", "m1")]


def test_a_miner_outside_the_ranges_is_not_called_absent() -> None:
    assert plan([entry("10.9.0.1"), entry("rack7.local")], []).changes == ()


def test_a_stopped_search_calls_nobody_absent() -> None:
    assert plan([entry(1, mac=A)], [], complete=False).changes == ()


def test_another_firmware_on_the_same_mac_changes_the_family() -> None:
    what = plan([entry(1, mac=A, family="antminer-stock")], [found(1, A, "luxos")])
    assert what.updates == {0: {"family": "luxos"}}
    assert kinds(what) == [("firmware", "m1")]


@pytest.mark.parametrize(
    ("chosen", "answers"),
    [("whatsminer-v2", "whatsminer-v3"), ("antminer-old", "antminer-stock"), ("pyasic-rs", "luxos")],
)
def test_a_driver_that_a_person_chose_is_kept(chosen: str, answers: str) -> None:
    assert plan([entry(1, mac=A, family=chosen)], [found(1, A, answers)]).changes == ()


def test_an_entry_under_a_host_name_keeps_it() -> None:
    what = plan([entry("rack7.local", mac=A)], [found(7, A)])
    assert (what.changes, what.updates, what.additions) == ((), {}, ())


def test_an_entry_with_ports_of_its_own_is_not_matched_by_address() -> None:
    what = plan([entry(1, ports={"api": 14028})], [found(1, A)])
    assert what.updates == {}
    assert [new["address"] for new in what.additions] == ["10.0.0.1"]
