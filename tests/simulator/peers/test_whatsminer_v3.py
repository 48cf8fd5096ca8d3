from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from agent.clock import ManualClock
from simulator.machine import PoolEntry
from simulator.peers import Faults, Peer
from tests.simulator.peers.conftest import MakeMachine, StartPeer
from tests.simulator.peers.wire import ask, ask_frame, connect_frames

SUMMARY_KEYS = {
    "elapsed", "bootup-time", "freq-avg", "target-freq", "factory-hash", "hash-average", "hash-1min",
    "hash-15min", "hash-realtime", "power-rate", "power-5min", "power-realtime", "environment-temperature",
    "board-temperature", "chip-temp-min", "chip-temp-avg", "chip-temp-max", "power-limit", "up-freq-finish",
    "fan-speed-in", "fan-speed-out",
}  # fmt: skip


async def write(
    peer: Peer,
    clock: ManualClock,
    cmd: str,
    param: Any = None,
    *,
    password: str = "super",
    account: str = "super",
    late_s: int = 0,
    padding: str | None = None,
) -> Any:
    salt = (await ask_frame(peer, cmd="get.device.info", param="salt"))["msg"]["salt"]
    ts = int(clock.now().timestamp()) - late_s
    digest = hashlib.sha256(f"{cmd}{password}{salt}{ts}".encode()).digest()
    if padding is not None:
        text = json.dumps(param).encode()
        if padding == "nul":
            text += b"\x00" * (-len(text) % 16)
        else:
            padder = PKCS7(128).padder()
            text = padder.update(text) + padder.finalize()
        encryptor = Cipher(algorithms.AES(digest), modes.ECB()).encryptor()
        param = base64.b64encode(encryptor.update(text) + encryptor.finalize()).decode()
    token = base64.b64encode(digest)[:8].decode()
    return await ask_frame(peer, cmd=cmd, param=param, ts=ts, token=token, account=account)


# -- reads ---------------------------------------------------------------------------------------


async def test_device_info_has_every_section(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m60s")
    reply = await ask_frame(await start(machine, api_v3=True), cmd="get.device.info")
    assert (reply["code"], reply["desc"]) == (0, "get.device.info")
    assert reply["when"] == int(machine.clock.now().timestamp())
    info = reply["msg"]
    assert set(info) == {"network", "system", "miner", "power", "salt", "error-code"}
    assert info["network"]["mac"] == "00:1A:2B:3C:4D:5E"
    assert (info["system"]["api"], info["system"]["apiswitch"]) == ("3.0.5", "1")
    assert info["miner"]["type"] == machine.state().type_text
    assert (info["miner"]["working"], info["miner"]["miner-sn"]) == ("true", "SN0001")
    assert {"pcbsn0", "pcbsn1", "pcbsn2", "fast-boot", "board-num", "power-limit-set"} < set(info["miner"])


async def test_the_factory_hash_is_the_sum_of_the_detected_rates(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    detected = (await ask_frame(peer, cmd="get.device.info", param="miner"))["msg"]["miner"][
        "detect-hash-rate"
    ]
    summary = (await ask_frame(peer, cmd="get.miner.status", param="summary"))["msg"]["summary"]
    assert sum(int(part) for part in detected.split(":")) / 1000 == pytest.approx(
        summary["factory-hash"], abs=0.003
    )


async def test_one_section_can_be_asked_for(make_machine: MakeMachine, start: StartPeer) -> None:
    reply = await ask_frame(
        await start(make_machine("whatsminer-m60s"), api_v3=True), cmd="get.device.info", param="system"
    )
    assert list(reply["msg"]) == ["system"]


async def test_status_summary_shows_the_machine_in_ths_and_watts(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("whatsminer-m60s")
    reply = await ask_frame(await start(machine, api_v3=True), cmd="get.miner.status", param="summary")
    summary, state = reply["msg"]["summary"], machine.state()
    assert set(summary) == SUMMARY_KEYS
    assert summary["hash-1min"] == round(state.hashrate_ths, 3)
    assert summary["power-realtime"] == round(state.reported_power_w or 0)
    assert len(summary["board-temperature"]) == 3


async def test_status_sections_can_be_joined(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    message = (await ask_frame(peer, cmd="get.miner.status", param="edevs+summary"))["msg"]
    assert list(message) == ["edevs", "summary"]
    assert {"id", "slot", "hash-average", "factory-hash", "freq", "effective-chips"} < set(
        message["edevs"][0]
    )


async def test_pools_have_no_counts_and_no_passwords(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    pools = (await ask_frame(peer, cmd="get.miner.status", param="pools"))["msg"]["pools"]
    assert set(pools[0]) == {
        "id", "url", "account", "status", "stratum-active", "stratum-diff", "reject-rate", "last-share-time",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_fields", "code"),
    [
        ({"cmd": "get.miner.status"}, -3),
        ({"cmd": "get.miner.status", "param": "weather"}, -2),
        ({"cmd": "get.device.info", "param": "weather"}, -2),
        ({"cmd": "get.weather"}, -2),
        ({"param": "summary"}, -2),
    ],
)
async def test_a_wrong_read_has_its_code(
    make_machine: MakeMachine, start: StartPeer, request_fields: dict[str, Any], code: int
) -> None:
    reply = await ask_frame(await start(make_machine("whatsminer-m60s"), api_v3=True), **request_fields)
    assert reply["code"] == code


async def test_settings(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    setting = (await ask_frame(peer, cmd="get.miner.setting"))["msg"]
    assert setting["power-limit"] == round(machine.state().power_limit_w or 0)
    assert (setting["power-mode"], setting["power-percent"]) == ("normal", 0)
    assert set((await ask_frame(peer, cmd="get.fan.setting"))["msg"]) == {
        "fan-poweroff-cool", "fan-zero-speed", "fan-temp-offset",
    }  # fmt: skip
    assert "hostname" in (await ask_frame(peer, cmd="get.system.setting"))["msg"]


async def test_errors_have_mixed_keys(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m60s", missing_boards=[1]), api_v3=True)
    errors = (await ask_frame(peer, cmd="get.device.info", param="error-code"))["msg"]["error-code"]
    assert list(errors[0]) == ["531", "reason"]


async def test_a_connection_carries_several_frames(make_machine: MakeMachine, start: StartPeer) -> None:
    frames = await connect_frames(await start(make_machine("whatsminer-m60s"), api_v3=True))
    replies = [await frames.ask(cmd="get.miner.setting") for _ in range(3)]
    frames.close()
    assert [reply["code"] for reply in replies] == [0, 0, 0]


async def test_v2_units_do_not_listen_on_4433(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"))
    assert peer.ports.api_v3 == 0


@pytest.mark.parametrize("length", [0, 64 * 1024 + 1, 2**32 - 1])
async def test_a_frame_of_impossible_length_is_reset(
    make_machine: MakeMachine, start: StartPeer, length: int
) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    with pytest.raises(ConnectionError):
        await ask(peer, struct.pack("<I", length), peer.ports.api_v3)


async def test_data_is_replaced_by_text_while_the_process_is_down(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    machine.restart_mining()
    clock.advance(1)
    reply = await ask_frame(peer, cmd="get.miner.status", param="summary")
    assert (reply["code"], reply["msg"]) == (-1, "btminer process is down")


# -- writes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [3000, 3000.0, "3000"])
async def test_power_limit(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock, limit: object
) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    reply = await write(peer, clock, "set.miner.power_limit", limit)
    assert (reply["code"], reply["msg"]) == (0, "ok")
    assert machine.state().power_limit_w == 3000
    assert (await ask_frame(peer, cmd="get.miner.setting"))["msg"]["power-limit"] == 3000


@pytest.mark.parametrize(
    "wrong", [{"late_s": 3600}, {"late_s": -3600}, {"password": "guess"}, {"account": "user1"}]
)
async def test_a_write_with_a_wrong_time_password_or_account_is_minus_4(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock, wrong: dict[str, Any]
) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    assert (await write(peer, clock, "set.miner.power_limit", 3000, **wrong))["code"] == -4
    assert machine.state().power_limit_w == machine.default_power_limit_w


async def test_a_miner_whose_clock_is_wrong_refuses_our_time(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True, faults=Faults(clock_skew_s=7200.0))
    assert (await write(peer, clock, "set.miner.power_limit", 3000))["code"] == -4
    assert (await write(peer, clock, "set.miner.power_limit", 3000, late_s=-7200))["code"] == 0


async def test_a_write_without_a_token_is_minus_4(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    assert (await ask_frame(peer, cmd="set.miner.power_limit", param=3000))["code"] == -4


async def test_with_the_switch_closed_writes_are_minus_4_and_the_info_says_so(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True, write_enabled=False)
    assert (await write(peer, clock, "set.miner.power_limit", 3000))["code"] == -4
    info = await ask_frame(peer, cmd="get.device.info", param="system")
    assert info["msg"]["system"]["apiswitch"] == "0"


async def test_power_mode(make_machine: MakeMachine, start: StartPeer, clock: ManualClock) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    assert (await write(peer, clock, "set.miner.power_mode", "low"))["code"] == 0
    assert machine.state().power_mode == "low"
    assert (await write(peer, clock, "set.miner.power_mode", "turbo"))["code"] == -2


@pytest.mark.parametrize("param", [{"percent": "80", "mode": "fast"}, '{"percent":"80","mode":"normal"}'])
async def test_power_percent(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock, param: object
) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    assert (await write(peer, clock, "set.miner.power_percent", param))["code"] == 0
    assert (await ask_frame(peer, cmd="get.miner.setting"))["msg"]["power-percent"] == 80


async def test_service_stops_and_starts_mining(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    await write(peer, clock, "set.miner.service", "stop")
    info = await ask_frame(peer, cmd="get.device.info", param="miner")
    assert info["msg"]["miner"]["working"] == "false"
    await write(peer, clock, "set.miner.service", "start")
    assert machine.state().mining_enabled


async def test_power_in_watts_does_not_restart(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m60s")
    await write(await start(machine, api_v3=True), clock, "set.miner.power", 2800)
    assert machine.state().process_up
    assert machine.state().power_percent < 100


@pytest.mark.parametrize("padding", ["nul", "pkcs7"])
async def test_pools_are_written_in_an_encrypted_param(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock, padding: str
) -> None:
    machine = make_machine("whatsminer-m60s")
    pools = [{"pool": "stratum+tcp://new.example:1", "worker": "w", "passwd": "p"}]
    reply = await write(await start(machine, api_v3=True), clock, "set.miner.pools", pools, padding=padding)
    assert reply["code"] == 0
    assert machine.pools[0] == PoolEntry("stratum+tcp://new.example:1", "w", "p")


async def test_pools_in_the_open_are_refused(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m60s")
    before = list(machine.pools)
    pools = [{"pool": "stratum+tcp://new.example:1", "worker": "w", "passwd": "p"}]
    assert (await write(await start(machine, api_v3=True), clock, "set.miner.pools", pools))["code"] == -2
    assert machine.pools == before


@pytest.mark.parametrize(
    ("cmd", "param", "read", "key", "shown"),
    [
        ("set.miner.fastboot", "enable", "get.miner.setting", "fast-boot", "enable"),
        ("set.miner.upfreq_speed", 5, "get.miner.setting", "upfreq-speed", 5),
        ("set.miner.heat_mode", "heating", "get.miner.setting", "heat-mode", "heating"),
        ("set.miner.target_freq", -5, "get.miner.setting", "target-freq", -5),
        ("set.fan.temp_offset", -10, "get.fan.setting", "fan-temp-offset", "-10"),
        ("set.fan.poweroff_cool", 1, "get.fan.setting", "fan-poweroff-cool", "1"),
    ],
)
async def test_a_written_setting_is_read_back(
    make_machine: MakeMachine,
    start: StartPeer,
    clock: ManualClock,
    cmd: str,
    param: object,
    read: str,
    key: str,
    shown: object,
) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True)
    assert (await write(peer, clock, cmd, param))["code"] == 0
    assert (await ask_frame(peer, cmd=read))["msg"][key] == shown


async def test_reboot_takes_the_ports_down(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True)
    await write(peer, clock, "set.system.reboot")
    assert machine.state().phase == "booting"
    with pytest.raises(ConnectionError):
        await ask(peer, struct.pack("<I", 2) + b"{}", peer.ports.api_v3)
