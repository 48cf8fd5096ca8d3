from __future__ import annotations

import json

import pytest

from agent.clock import ManualClock
from simulator.machine import PoolEntry
from tests.simulator.peers.conftest import MakeMachine, StartPeer
from tests.simulator.peers.wire import ask, ask_json

# A capture of an S19 Pro, keys in the order of its text.
S19_HEADER_KEYS = {"BMMiner", "Miner", "CompileTime", "Type"}
S19_KEYS = (
    {"STATS", "ID", "Elapsed", "Calls", "Wait", "Max", "Min", "GHS 5s", "GHS av", "rate_30m", "Mode"}
    | {"miner_count", "frequency", "fan_num", "fan1", "fan2", "fan3", "fan4", "temp_num", "temp_max"}
    | {"temp1", "temp2", "temp3", "temp2_1", "temp2_2", "temp2_3"}
    | {f"{name}{slot}" for name in ("temp_pcb", "temp_chip", "temp_pic", "freq") for slot in range(1, 5)}
    | {f"chain_{name}{slot}" for name in ("acn", "acs", "hw", "rate") for slot in range(1, 5)}
    | {"total_rateideal", "rate_unit", "total_freqavg", "total_acn", "total rate", "no_matching_work"}
    | {"miner_version", "miner_id"}
)


async def test_legacy_stats_has_exactly_the_keys_of_the_s19_pro_capture(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    reply = await ask_json(peer, command="stats")
    assert list(reply) == ["STATS", "STATUS", "id"]
    header, data = reply["STATS"]
    assert set(header) == S19_HEADER_KEYS
    assert header["Type"] == "Antminer S19 Pro"
    assert set(data) == S19_KEYS


async def test_legacy_board_rates_are_strings_and_the_fourth_slot_is_empty(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    data = (await ask_json(await start(machine), command="stats"))["STATS"][1]
    boards = machine.state().boards
    assert [data[f"chain_rate{slot}"] for slot in (1, 2, 3)] == [
        f"{b.hashrate_ths * 1000:.2f}" for b in boards
    ]
    assert (data["chain_rate4"], data["chain_acn4"], data["chain_acs4"], data["freq4"]) == ("", 0, "", 0)
    assert data["temp_pcb4"] == data["temp_chip4"] == "0-0-0-0"
    assert data["chain_acs1"].startswith(" ooo ooo ")


async def test_legacy_temperatures_are_four_numbers_joined_by_dashes(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    data = (await ask_json(await start(machine), command="stats"))["STATS"][1]
    expected = machine.state().boards[0].chip_temps_c
    assert data["temp_chip1"] == "-".join(str(round(value)) for value in expected)


async def test_legacy_rates_are_numbers_in_ghs(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    data = (await ask_json(await start(machine), command="stats"))["STATS"][1]
    state = machine.state()
    assert data["GHS 5s"] == round(state.hashrate_5s_ths * 1000, 2)
    assert data["rate_30m"] == round(state.hashrate_30m_ths * 1000, 2)
    assert data["total_acn"] == 342
    assert data["rate_unit"] == "GH"


async def test_the_status_of_a_legacy_reply_is_a_list(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    reply = await ask_json(await start(machine), command="stats")
    assert reply["STATUS"] == [
        {
            "STATUS": "S",
            "When": int(machine.clock.now().timestamp()),
            "Code": 70,
            "Msg": "CGMiner stats",
            "Description": "cgminer 1.0.0",
        }
    ]


@pytest.mark.parametrize(
    ("command", "code", "key"),
    [("version", 22, "VERSION"), ("summary", 11, "SUMMARY"), ("pools", 7, "POOLS"), ("devs", 9, "DEVS")],
)
async def test_each_allowed_command_has_its_code(
    make_machine: MakeMachine, start: StartPeer, command: str, code: int, key: str
) -> None:
    reply = await ask_json(await start(make_machine("antminer-s19-pro")), command=command)
    assert reply["STATUS"][0]["Code"] == code
    assert reply[key]


async def test_legacy_pools_never_show_a_password(make_machine: MakeMachine, start: StartPeer) -> None:
    raw = await ask(await start(make_machine("antminer-s19-pro")), b'{"command":"pools"}')
    assert b"site.worker1" in raw
    assert b"secret1" not in raw
    assert b'"Pool Stale%%"' in raw


async def test_new_api_at_the_top_level_gives_the_new_layout(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-xp")
    reply = await ask_json(await start(machine, layout="new"), command="stats", new_api=True)
    assert list(reply) == ["STATUS", "INFO", "STATS"]
    assert reply["STATUS"] == {
        "STATUS": "S",
        "when": int(machine.clock.now().timestamp()),
        "Msg": "stats",
        "api_version": "1.0.0",
    }
    assert reply["INFO"]["type"] == "Antminer S19 XP"
    row = reply["STATS"][0]
    assert row["rate_unit"] == "GH/s"
    assert row["miner-mode"] == 0
    assert isinstance(row["fan"], list)
    assert [chain["asic_num"] for chain in row["chain"]] == [110, 110, 110]
    assert {
        "index",
        "freq_avg",
        "rate_ideal",
        "rate_real",
        "asic",
        "temp_pic",
        "temp_pcb",
        "temp_chip",
    } < set(row["chain"][0])
    assert all(len(row["chain"][0][key]) == 4 for key in ("temp_pic", "temp_pcb", "temp_chip"))


async def test_new_api_inside_parameter_is_ignored(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-xp"), layout="new")
    reply = await ask_json(peer, command="stats", parameter={"new_api": True})
    assert isinstance(reply["STATUS"], list)
    assert reply["STATS"][1]["ID"] == "BTM_SOC0"


async def test_new_pools_have_lower_case_keys(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s21"), layout="new")
    pools = (await ask_json(peer, command="pools", new_api=True))["POOLS"]
    assert set(pools[0]) == {
        "index", "url", "user", "status", "priority", "getworks", "accepted", "rejected", "discarded",
        "stale", "diff", "diff1", "diffa", "diffr", "diffs", "lsdiff", "lstime",
    }  # fmt: skip


async def test_new_summary_has_the_four_checks(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s21", missing_boards=[1]), layout="new")
    checks = (await ask_json(peer, command="summary", new_api=True))["SUMMARY"][0]["status"]
    assert [check["type"] for check in checks] == ["rate", "network", "fans", "temp"]
    assert (checks[0]["status"], checks[0]["msg"]) == ("e", "J:8")
    assert checks[3] == {"type": "temp", "status": "s", "code": 0, "msg": ""}


@pytest.mark.parametrize("command", ["rate", "warning", "reload"])
async def test_the_new_api_knows_its_other_commands(
    make_machine: MakeMachine, start: StartPeer, command: str
) -> None:
    reply = await ask_json(
        await start(make_machine("antminer-s21"), layout="new"), command=command, new_api=True
    )
    assert (reply["STATUS"]["STATUS"], reply["STATUS"]["Msg"]) == ("S", command)


async def test_a_command_outside_the_access_group_is_denied_with_code_45(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    reply = await ask_json(await start(make_machine("antminer-s19-pro")), command="devdetails")
    status = reply["STATUS"][0]
    assert (status["STATUS"], status["Code"]) == ("E", 45)
    assert status["Msg"] == "Access denied to 'devdetails' command"


async def test_an_unknown_command_is_invalid_with_code_14(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    reply = await ask_json(await start(make_machine("antminer-s19-pro")), command="make_coffee")
    assert (reply["STATUS"][0]["Code"], reply["STATUS"][0]["Msg"]) == (14, "Invalid command")


async def test_joined_commands_are_refused_on_the_s19_era(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    reply = await ask_json(await start(make_machine("antminer-s19-pro")), command="summary+stats")
    assert reply["STATUS"][0]["Code"] == 14


async def test_joined_commands_work_on_the_s17(make_machine: MakeMachine, start: StartPeer) -> None:
    reply = await ask_json(await start(make_machine("antminer-s17-pro")), command="summary+pools")
    assert reply["summary"][0]["SUMMARY"][0]["Elapsed"] > 0
    assert reply["pools"][0]["POOLS"][0]["POOL"] == 0


async def test_broken_json_is_answered_with_code_23(make_machine: MakeMachine, start: StartPeer) -> None:
    raw = await ask(await start(make_machine("antminer-s19-pro")), b'{"command":\n')
    assert json.loads(raw)["STATUS"][0]["Code"] == 23


async def test_the_request_may_end_with_a_newline(make_machine: MakeMachine, start: StartPeer) -> None:
    raw = await ask(await start(make_machine("antminer-s19-pro")), b'{"command":"version"}\n')
    assert json.loads(raw)["VERSION"][0]["Type"] == "Antminer S19 Pro"


async def test_s9_stats_lack_the_comma_between_the_two_elements(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    raw = await ask(await start(make_machine("antminer-s9")), b'{"command":"stats"}')
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw.rstrip(b"\x00"))
    repaired = json.loads(raw.rstrip(b"\x00").replace(b"}{", b"},{"))
    assert [repaired["STATS"][0]["Type"], repaired["STATS"][1]["STATS"]] == ["Antminer S9", 0]


async def test_s9_boards_are_in_slots_6_to_8_and_some_numbers_are_strings(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    raw = await ask(await start(make_machine("antminer-s9")), b'{"command":"stats"}')
    data = json.loads(raw.rstrip(b"\x00").replace(b"}{", b"},{"))["STATS"][1]
    assert [slot for slot in range(1, 17) if data[f"chain_acn{slot}"]] == [6, 7, 8]
    assert [slot for slot in range(1, 9) if data[f"fan{slot}"]] == [3, 6]
    assert isinstance(data["GHS 5s"], str)
    assert isinstance(data["frequency"], str)
    assert data["temp6"] < data["temp2_6"]
    assert "temp_pcb6" not in data


async def test_a_missing_board_leaves_its_slot_empty(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro", missing_boards=[1]))
    data = (await ask_json(peer, command="stats"))["STATS"][1]
    assert (data["chain_acn1"], data["chain_acn2"], data["chain_rate2"], data["miner_count"]) == (
        114,
        0,
        "",
        2,
    )
    assert data["temp_chip2"] == "0-0-0-0"


async def test_a_sleeping_legacy_unit_still_counts_chips_and_hashes_nothing(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    machine.set_work_mode("sleep")
    clock.advance(3600)
    data = (await ask_json(peer, command="stats"))["STATS"][1]
    assert (data["GHS 5s"], data["total_acn"]) == (0.0, 342)


async def test_a_sleeping_new_unit_answers_with_empty_lists(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s21")
    peer = await start(machine, layout="new")
    machine.set_work_mode("sleep")
    clock.advance(3600)
    assert (await ask_json(peer, command="stats", new_api=True))["STATS"] == []
    assert (await ask_json(peer, command="summary", new_api=True))["SUMMARY"] == []
    assert (await ask_json(peer, command="stats"))["STATS"] == []


async def test_4028_is_reset_while_the_mining_process_restarts(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    machine.restart_mining()
    clock.advance(1)
    with pytest.raises(ConnectionError):
        await ask(peer, b'{"command":"stats"}')


async def test_stats_are_empty_between_restart_and_hashing(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    machine.restart_mining()
    clock.advance(machine.spec.timing.restart_gap_s + 5)
    assert (await ask_json(peer, command="stats"))["STATS"] == []


async def test_new_pools_show_in_the_next_read(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    machine.set_pools([PoolEntry("stratum+tcp://other.example:1", "me", "x")])
    assert [pool["URL"] for pool in (await ask_json(peer, command="pools"))["POOLS"]] == [
        "stratum+tcp://other.example:1"
    ]
