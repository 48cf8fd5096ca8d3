from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from agent.clock import ManualClock
from simulator.machine import PoolEntry
from simulator.peers import Faults
from simulator.peers.whatsminer import v2 as whatsminer_v2
from tests.simulator.peers.conftest import POOLS, MakeMachine, StartPeer
from tests.simulator.peers.v2_client import log_in
from tests.simulator.peers.wire import ask, ask_json, http

SUMMARY_KEYS = {
    "Elapsed", "MHS av", "MHS 5s", "MHS 1m", "MHS 5m", "MHS 15m", "HS RT", "Accepted", "Rejected", "Total MH",
    "Temperature", "freq_avg", "Fan Speed In", "Fan Speed Out", "Voltage", "Power", "Power_RT", "Power Rate",
    "Power Current", "Power Fanspeed", "Power Limit", "Power Mode", "Factory GHS", "Target Freq",
    "Target MHS", "Env Temp", "Chip Temp Min", "Chip Temp Max", "Chip Temp Avg", "Hash Stable",
    "Hash Stable Cost Seconds", "Hash Deviation%", "Uptime", "Btminer Fast Boot",
    "Error Code Count", "MAC", "Firmware Version",
}  # fmt: skip
EDEVS_KEYS = {
    "ASC", "Slot", "Enabled", "Status", "Temperature", "Chip Frequency", "MHS av", "MHS 5s", "MHS 1m",
    "MHS 5m", "MHS 15m", "HS RT", "Factory GHS", "Upfreq Complete", "Effective Chips", "PCB SN", "Chip Data",
    "Chip Temp Min", "Chip Temp Max", "Chip Temp Avg", "chip_vol_diff",
}  # fmt: skip


# -- reads ---------------------------------------------------------------------------------------


async def test_summary_has_the_keys_of_the_m20s_capture(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m20s", missing_boards=[2])
    reply = await ask_json(await start(machine), cmd="summary")
    assert reply["STATUS"] == [{"STATUS": "S", "Msg": "Summary"}]
    row = reply["SUMMARY"][0]
    assert set(row) >= SUMMARY_KEYS | {"Error Code 0"}
    assert row["Error Code 0"] == 532
    assert row["Firmware Version"] == "'20210322.22.REL'"


async def test_summary_shows_the_machine(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    row = (await ask_json(await start(machine), cmd="summary"))["SUMMARY"][0]
    state = machine.state()
    assert row["MHS 1m"] == round(state.hashrate_ths * 1e6, 2)
    assert row["Power"] == round(state.reported_power_w or 0)
    assert row["Power Limit"] == round(state.power_limit_w or 0)
    assert row["Factory GHS"] == round(state.factory_hashrate_ths * 1000)
    assert row["Voltage"] == round(state.voltage_v * 100)
    assert (row["Power Mode"], row["Hash Stable"]) == ("Normal", True)


async def test_commands_may_be_called_command_too(make_machine: MakeMachine, start: StartPeer) -> None:
    assert "SUMMARY" in await ask_json(await start(make_machine("whatsminer-m30s-plus")), command="summary")


@pytest.mark.parametrize("command", ["edevs", "devs"])
async def test_one_row_per_board(make_machine: MakeMachine, start: StartPeer, command: str) -> None:
    machine = make_machine("whatsminer-m30s-plus", missing_boards=[1])
    reply = await ask_json(await start(machine), cmd=command)
    assert reply["STATUS"] == [{"STATUS": "S", "Msg": "2 ASC(s)"}]
    assert [row["Slot"] for row in reply["DEVS"]] == [0, 2]
    assert set(reply["DEVS"][0]) >= EDEVS_KEYS


async def test_pools_count_from_one_and_hide_passwords(make_machine: MakeMachine, start: StartPeer) -> None:
    raw = await ask(await start(make_machine("whatsminer-m30s-plus")), b'{"cmd":"pools"}')
    pools = json.loads(raw)["POOLS"]
    assert [pool["POOL"] for pool in pools] == [1, 2]
    assert b"secret1" not in raw


async def test_devdetails_name_driver_and_hardware(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    rows = (await ask_json(await start(machine), cmd="devdetails"))["DEVDETAILS"]
    model = machine.state().type_text.replace("_", "")
    assert {(row["Driver"], row["Model"]) for row in rows} == {("bitmicro", model)}


async def test_the_numbers_of_get_psu_are_strings(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    reply = await ask_json(await start(machine), cmd="get_psu")
    assert set(reply) == {"STATUS", "When", "Code", "Msg", "Description"}
    assert (reply["STATUS"], reply["Code"]) == ("S", 131)
    assert all(isinstance(value, str) for value in reply["Msg"].values())
    assert reply["Msg"]["pin"] == str(round(machine.state().reported_power_w or 0))
    assert {"iin", "vin", "fan_speed", "serial_no", "temp0"} < set(reply["Msg"])


async def test_get_version_is_an_object(make_machine: MakeMachine, start: StartPeer) -> None:
    message = (await ask_json(await start(make_machine("whatsminer-m30s-plus")), cmd="get_version"))["Msg"]
    assert (message["api_ver"], message["fw_ver"]) == ("2.0.5", "20230803.11.REL")
    assert message["miner_type"].startswith("M30S+_V")


async def test_get_version_of_old_firmware_is_a_string(make_machine: MakeMachine, start: StartPeer) -> None:
    reply = await ask_json(await start(make_machine("whatsminer-m20s")), cmd="get_version")
    assert reply["Msg"] == "'20210322.22.REL'"


async def test_status_of_new_and_old_firmware(make_machine: MakeMachine, start: StartPeer) -> None:
    new = (await ask_json(await start(make_machine("whatsminer-m30s-plus")), cmd="status"))["Msg"]
    old = (await ask_json(await start(make_machine("whatsminer-m20s")), cmd="status"))["Msg"]
    assert new == {
        "mineroff": "false", "mineroff_reason": "", "mineroff_time": "", "FirmwareVersion": "20230803.11.REL",
        "power_mode": "normal", "power_limit_set": "", "hash_percent": "0",
    }  # fmt: skip
    assert old == {"btmineroff": "false", "Firmware Version": "'20210322.22.REL'"}


async def test_get_miner_info_can_be_narrowed(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"))
    reply = await ask_json(peer, cmd="get_miner_info", info="mac,minersn")
    assert reply["Msg"] == {"mac": "00:1A:2B:3C:4D:5E", "minersn": "SN0001"}


@pytest.mark.parametrize("command", ["get_error_code", "get_miner_info"])
async def test_old_firmware_lacks_new_reads(
    make_machine: MakeMachine, start: StartPeer, command: str
) -> None:
    reply = await ask_json(await start(make_machine("whatsminer-m20s")), cmd=command)
    assert (reply["STATUS"], reply["Code"]) == ("E", 14)


async def test_get_error_code_maps_codes_to_times(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus", missing_boards=[0]))
    errors = (await ask_json(peer, cmd="get_error_code"))["Msg"]["error_code"]
    assert list(errors[0]) == ["530"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", errors[0]["530"])


async def test_joins_are_allowed_between_mining_commands(make_machine: MakeMachine, start: StartPeer) -> None:
    reply = await ask_json(await start(make_machine("whatsminer-m30s-plus")), cmd="summary+pools")
    assert "SUMMARY" in reply["summary"][0]
    assert "POOLS" in reply["pools"][0]


@pytest.mark.parametrize("command", ["summary+get_psu", "status+summary", "stats"])
async def test_other_joins_and_commands_are_invalid(
    make_machine: MakeMachine, start: StartPeer, command: str
) -> None:
    reply = await ask_json(await start(make_machine("whatsminer-m30s-plus")), cmd=command)
    assert (reply["STATUS"], reply["Code"]) == ("E", 14)


@pytest.mark.parametrize("request_bytes", [b"{not json}\n", b"[1]\n"])
async def test_broken_json_is_code_23(
    make_machine: MakeMachine, start: StartPeer, request_bytes: bytes
) -> None:
    reply = json.loads(await ask(await start(make_machine("whatsminer-m30s-plus")), request_bytes))
    assert (reply["Code"], reply["Msg"]) == (23, "json cmd err")


async def test_the_v2_of_v3_firmware_is_reduced(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    summary = (await ask_json(peer, cmd="summary"))["SUMMARY"][0]
    board = (await ask_json(peer, cmd="edevs"))["DEVS"][0]
    assert not {"MHS 5s", "MHS 5m"} & set(summary)
    assert not {"MHS 5s", "MHS 5m", "Chip Temp Max"} & set(board)
    assert summary["Accepted"] > 0


async def test_data_is_replaced_by_an_error_while_btminer_restarts(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    machine.restart_mining()
    clock.advance(1)
    assert (await ask_json(peer, cmd="summary"))["Msg"] == "btminer process is down"
    assert (await ask_json(peer, cmd="status"))["STATUS"] == "S"


async def test_4028_is_reset_while_the_board_boots(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    machine.reboot()
    clock.advance(1)
    with pytest.raises(ConnectionError):
        await ask(peer, b'{"cmd":"summary"}')


async def test_port_80_sends_the_browser_to_https(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"))
    page = await http(peer, peer.ports.web, "/")
    assert (page.status, page.headers["location"]) == (307, "https://127.0.0.1/")


async def test_an_idle_connection_is_closed(
    make_machine: MakeMachine, start: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert whatsminer_v2.IDLE_S == 10.0
    monkeypatch.setattr(whatsminer_v2, "IDLE_S", 0.05)
    assert await ask(await start(make_machine("whatsminer-m30s-plus")), b"") == b""


# -- tokens --------------------------------------------------------------------------------------


async def test_get_token_answers_134_with_salts(make_machine: MakeMachine, start: StartPeer) -> None:
    reply = await ask_json(await start(make_machine("whatsminer-m30s-plus")), cmd="get_token")
    assert (reply["STATUS"], reply["Code"]) == ("S", 134)
    assert set(reply["Msg"]) == {"time", "salt", "newsalt"}
    assert len(reply["Msg"]["salt"]) == len(reply["Msg"]["newsalt"]) == 8


async def test_the_101st_token_is_refused_with_136(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"))
    codes = [(await ask_json(peer, cmd="get_token"))["Code"] for _ in range(101)]
    assert codes == [134] * 100 + [136]


async def test_the_token_limit_can_be_switched_on(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"), faults=Faults(token_limit=True))
    assert (await ask_json(peer, cmd="get_token"))["Code"] == 136


# -- writes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["nul", "pkcs7"])
async def test_an_encrypted_write_is_done_with_either_padding(
    make_machine: MakeMachine, start: StartPeer, padding: str
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    reply = await (await log_in(peer)).write(padding, cmd="adjust_power_limit", power_limit="3000")
    assert (reply["STATUS"], reply["Code"], reply["sealed"]) == ("S", 131, True)
    assert machine.state().power_limit_w == 3000
    assert (await ask_json(peer, cmd="status"))["Msg"]["power_limit_set"] == "3000"


async def test_a_limit_of_99999_resets_to_the_default(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    session = await log_in(peer)
    await session.write(cmd="adjust_power_limit", power_limit="3000")
    await session.write(cmd="adjust_power_limit", power_limit="99999")
    assert machine.state().power_limit_w == machine.default_power_limit_w
    assert (await ask_json(peer, cmd="status"))["Msg"]["power_limit_set"] == ""


async def test_a_limit_of_700_w_is_said_ok_and_ignored(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s")
    before = machine.state().power_limit_w
    reply = await (await log_in(await start(machine))).write(cmd="adjust_power_limit", power_limit="700")
    assert reply["Code"] == 131
    assert machine.state().power_limit_w == before


async def test_a_wrong_password_cannot_be_decrypted(make_machine: MakeMachine, start: StartPeer) -> None:
    session = await log_in(await start(make_machine("whatsminer-m30s-plus")), password="guess")
    reply = await session.write(cmd="restart_btminer")
    assert (reply["STATUS"], reply["Code"], reply["Msg"]) == ("E", 23, "enc json load err")


async def test_the_owner_may_have_changed_the_password(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"), password="s3cret")
    assert (await (await log_in(peer, password="s3cret")).write(cmd="power_on"))["Code"] == 131


async def test_an_invented_token_is_135(make_machine: MakeMachine, start: StartPeer) -> None:
    session = await log_in(await start(make_machine("whatsminer-m30s-plus")))
    reply = await session.write(cmd="restart_btminer", token="invented")
    assert (reply["STATUS"], reply["Code"]) == ("E", 135)


async def test_a_token_of_the_last_hour_is_135(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    session = await log_in(await start(machine))
    clock.advance(1801)
    assert (await session.write(cmd="adjust_power_limit", power_limit="3000"))["Code"] == 135
    assert machine.state().power_limit_w == machine.default_power_limit_w


@pytest.mark.parametrize("options", [{"write_enabled": False}, {"faults": Faults(closed_write_api=True)}])
async def test_with_the_api_switch_closed_every_write_is_45(
    make_machine: MakeMachine, start: StartPeer, options: dict[str, Any]
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    session = await log_in(await start(machine, **options))
    reply = await session.write(cmd="adjust_power_limit", power_limit="3000")
    assert (reply["STATUS"], reply["Code"], reply["Msg"]) == ("E", 45, "can't access write cmd")
    assert machine.state().power_limit_w == machine.default_power_limit_w


async def test_a_write_in_the_open_is_refused(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    reply = await ask_json(await start(machine), cmd="power_off", respbefore="true")
    assert (reply["STATUS"], reply["Code"]) == ("E", 45)
    assert machine.state().mining_enabled


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("adjust_power_limit", {}),
        ("adjust_power_limit", {"power_limit": "100000"}),
        ("set_power_pct", {"percent": "101"}),
        ("set_power_pct", {"percent": "nan"}),
        ("set_power_pct_v2", {"percent": "-1"}),
        ("set_target_freq", {"percent": "101"}),
        ("update_pools", {"pool1": 5}),
        ("set_led", {"color": "mauve"}),
    ],
)
async def test_a_value_out_of_range_is_132(
    make_machine: MakeMachine, start: StartPeer, command: str, parameters: dict[str, Any]
) -> None:
    session = await log_in(await start(make_machine("whatsminer-m30s-plus")))
    reply = await session.write(cmd=command, **parameters)
    assert (reply["STATUS"], reply["Code"]) == ("E", 132)


async def test_an_unknown_write_is_14(make_machine: MakeMachine, start: StartPeer) -> None:
    session = await log_in(await start(make_machine("whatsminer-m30s-plus")))
    assert (await session.write(cmd="factory_reset"))["Code"] == 14


async def test_fast_percent_lowers_the_power_without_a_restart(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    session = await log_in(peer)
    before = (await ask_json(peer, cmd="summary"))["SUMMARY"][0]
    await session.write(cmd="set_power_pct", percent="80")
    clock.advance(30)
    after = (await ask_json(peer, cmd="summary"))["SUMMARY"][0]
    assert after["Elapsed"] == before["Elapsed"] + 30
    assert after["Power"] == pytest.approx(0.8 * before["Power"], rel=0.05)


async def test_restore_undoes_a_percent(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    session = await log_in(await start(machine))
    await session.write(cmd="set_power_pct_v2", percent="80")
    assert machine.state().power_percent == 80
    await session.write(cmd="restore_power_pct")
    assert machine.state().power_percent == 100


async def test_a_liquid_cooled_unit_takes_more_than_100_percent(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    session = await log_in(await start(make_machine("whatsminer-m53s")))
    assert (await session.write(cmd="set_power_pct_v2", percent="110"))["Code"] == 131


@pytest.mark.parametrize(
    ("command", "mode"),
    [("set_low_power", "low"), ("set_normal_power", "normal"), ("set_high_power", "high")],
)
async def test_a_power_mode_is_set_without_any_reply(
    make_machine: MakeMachine, start: StartPeer, command: str, mode: str
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    session = await log_in(peer)
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.api)
    writer.write(session.seal(cmd=command))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    writer.close()
    assert machine.state().power_mode == mode


async def test_power_off_with_respbefore_answers_and_stops(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    session = await log_in(peer)
    assert (await session.write(cmd="power_off", respbefore="true"))["Code"] == 131
    assert (await ask_json(peer, cmd="status"))["Msg"]["mineroff"] == "true"
    clock.advance(600)
    assert (await ask_json(peer, cmd="summary"))["SUMMARY"][0]["HS RT"] == 0
    assert (await session.write(cmd="power_on"))["Code"] == 131
    assert machine.state().mining_enabled


async def test_power_off_without_respbefore_says_nothing(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    session = await log_in(peer)
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.api)
    writer.write(session.seal(cmd="power_off"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    writer.close()
    assert not machine.state().mining_enabled


async def test_update_pools_shows_at_once(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    peer = await start(machine)
    await (await log_in(peer)).write(
        cmd="update_pools", pool1="stratum+tcp://new.example:1", worker1="w", passwd1="p"
    )
    assert machine.pools[0] == PoolEntry("stratum+tcp://new.example:1", "w", "p")
    assert machine.pools[1] == PoolEntry("", "", "") != POOLS[1]
    assert [pool["URL"] for pool in (await ask_json(peer, cmd="pools"))["POOLS"]] == [
        "stratum+tcp://new.example:1"
    ]


async def test_target_freq_changes_the_machine(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    await (await log_in(await start(machine))).write(cmd="set_target_freq", percent="-10")
    assert machine.state().target_freq_percent == -10


@pytest.mark.parametrize(("command", "phase"), [("restart_btminer", "idle"), ("reboot", "booting")])
async def test_restarts(make_machine: MakeMachine, start: StartPeer, command: str, phase: str) -> None:
    machine = make_machine("whatsminer-m30s-plus")
    assert (await (await log_in(await start(machine))).write(cmd=command))["Code"] == 131
    assert machine.state().phase == phase


async def test_the_led_shows_in_the_miner_info(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"))
    session = await log_in(peer)
    await session.write(cmd="set_led", color="red", period=60, duration=20, start=0)
    assert (await ask_json(peer, cmd="get_miner_info", info="ledstat"))["Msg"] == {"ledstat": "manual"}
    await session.write(cmd="set_led", param="auto")
    assert (await ask_json(peer, cmd="get_miner_info", info="ledstat"))["Msg"] == {"ledstat": "auto"}


async def test_every_token_can_be_called_expired(make_machine: MakeMachine, start: StartPeer) -> None:
    session = await log_in(
        await start(make_machine("whatsminer-m30s-plus"), faults=Faults(token_expired=True))
    )
    assert (await session.write(cmd="power_on"))["Code"] == 135
