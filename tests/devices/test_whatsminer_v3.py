"""The v3 driver against scripted miners on real sockets, with and without v2 beside it."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.whatsminer.v3 import WhatsminerV3, capture, decode
from agent.errors import (
    DeviceError,
    Malformed,
    Refused,
    Timeout,
    Unauthorised,
    Unreachable,
    Unsupported,
    WriteDisabled,
)
from agent.hardware.bounds import Bounds, PermittedSetting, permit
from agent.setting import Knob, Setting
from tests.devices.whatsminer_scripted import CLOSE, HANG, WHEN, ScriptedV2, ScriptedV3, listening, refused

BOUNDS = (
    Bounds(Knob.POWER_LIMIT_W, 2000, 3600),
    Bounds(Knob.POWER_PERCENT, 50, 100),
    Bounds(Knob.WORK_MODE, choices=("low", "normal", "high")),
    Bounds(Knob.STOP),
    Bounds(Knob.FREQUENCY_PERCENT, 50, 100),
    Bounds(Knob.HASHRATE_PERCENT, 50, 100),
)
LIMIT_3000 = Setting(Knob.POWER_LIMIT_W, 3000.0)
NOBODY = 1  # a port where nothing listens on loopback


def allowed(setting: Setting) -> PermittedSetting:
    return permit(setting, BOUNDS)


def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 18, 21, 32, tzinfo=UTC))


def driver(peer: ScriptedV3, v2: int = NOBODY, at: ManualClock | None = None, **options: Any) -> WhatsminerV3:
    options = {"deadline_s": 2.0, "write_deadline_s": 4.0} | options
    return WhatsminerV3(Endpoint("127.0.0.1", Ports(api=v2, api_v3=peer.port), **options), at or clock())


@asynccontextmanager
async def both() -> AsyncIterator[tuple[ScriptedV3, ScriptedV2]]:
    async with listening(ScriptedV3()) as peer, listening(ScriptedV2()) as beside:
        yield peer, beside


async def test_identify_takes_one_request() -> None:
    async with listening(ScriptedV3()) as peer:
        identity = await driver(peer).identify()
    assert (identity.family, identity.model, identity.mac) == (
        "whatsminer-v3",
        "M60S_VK40",
        "ce:02:01:00:8c:36",
    )
    assert (identity.serial, identity.firmware_version) == ("SN3", "20251209.16.Rel2")
    assert peer.asked == ["get.device.info"]


async def test_the_first_reading_is_complete() -> None:
    async with both() as (peer, beside):
        reading = await driver(peer, beside.port).read()
    assert (reading.model, reading.mac) == ("whatsminer-m60s", "ce:02:01:00:8c:36")
    assert (reading.hashrate_ths, reading.hashrate_5s_ths, reading.power_w) == (178.9, 171.2, 3156.0)
    assert (reading.work_mode, reading.power_percent, reading.is_hashing) == ("normal", None, True)
    assert (reading.shares_accepted, reading.errors) == (20, ())
    assert reading.observed_at == datetime(2026, 3, 18, 21, 32, tzinfo=UTC)


async def test_v2_not_being_there_costs_nothing_but_the_share_counts() -> None:
    async with listening(ScriptedV3()) as peer:
        reading = await driver(peer).read()
    assert (reading.hashrate_ths, reading.shares_accepted) == (178.9, None)


@pytest.mark.parametrize("whole_info", [True, False])
async def test_later_readings_take_two_requests_or_fewer(whole_info: bool) -> None:
    at = clock()
    async with both() as (peer, beside):
        peer.whole_info = whole_info
        device = driver(peer, beside.port, at)
        await device.read()
        everything: set[str] = set()
        for _ in range(40):
            peer.asked.clear()
            beside.asked.clear()
            at.advance(60)
            reading = await device.read()
            assert len(peer.asked) + len(beside.asked) <= 2
            assert (reading.mac, reading.work_mode) == ("ce:02:01:00:8c:36", "normal")
            everything |= {*peer.asked, *beside.asked}
    assert {"get.miner.setting", "pools"} <= everything


async def test_a_poll_uses_one_connection() -> None:
    async with listening(ScriptedV3()) as peer:
        await driver(peer).read()
    assert (peer.connections, len(peer.asked) > 2) == (1, True)


async def test_firmware_that_closes_after_each_frame_is_read_all_the_same() -> None:
    async with listening(ScriptedV3(one_frame=True)) as peer:
        reading = await driver(peer).read()
    assert (reading.hashrate_ths, reading.model) == (178.9, "whatsminer-m60s")


async def test_firmware_that_cannot_join_is_read_in_two_requests() -> None:
    async with listening(ScriptedV3()) as peer:
        peer.replies["get.miner.status.edevs+summary"] = peer.reply("invalid param", "get.miner.status", -2)
        device = driver(peer)
        await device.read()
        peer.asked.clear()
        reading = await device.read()
    assert peer.asked == ["get.miner.status.summary", "get.miner.status.edevs"]
    assert reading.boards is not None


async def test_a_stop_is_seen_in_the_very_next_reading() -> None:
    async with listening(ScriptedV3()) as peer:
        device = driver(peer)
        await device.read()
        peer.info["miner"]["working"] = "false"
        peer.summary |= {"hash-1min": 90.0, "hash-realtime": 0}
        reading = await device.read()
    assert (reading.work_mode, reading.is_hashing) == ("stopped", False)


async def test_a_start_is_seen_in_the_very_next_reading() -> None:
    async with listening(ScriptedV3()) as peer:
        device = driver(peer)
        peer.info["miner"]["working"] = "false"
        assert (await device.read()).work_mode == "stopped"
        peer.info["miner"]["working"] = "true"
        assert (await device.read()).work_mode == "normal"


async def test_another_machine_at_the_address_is_noticed() -> None:
    at = clock()
    async with listening(ScriptedV3()) as peer:
        device = driver(peer, at=at)
        await device.read()
        peer.info["network"]["mac"] = "CE:02:01:00:00:01"
        at.advance(1000)
        macs = {(await device.read()).mac for _ in range(4)}
    assert "ce:02:01:00:00:01" in macs


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (HANG, Timeout),
        (CLOSE, Unreachable),
        (struct.pack("<I", 2**31) + b"{", Malformed),
        (struct.pack("<I", 10) + b"{", Unreachable),
        (struct.pack("<I", 0), Malformed),
        (struct.pack("<I", 3) + b"abc", Malformed),
        (b"{}", Unreachable),
        ({"when": 1}, Malformed),
        ({"code": -1, "msg": "fail", "desc": ""}, Refused),
        ({"code": 0, "msg": {}, "desc": ""}, Malformed),
        ({"code": 0, "msg": {"summary": {"x": 1}, "edevs": []}, "desc": ""}, Malformed),
    ],
)
async def test_odd_frames_become_typed_errors(reply: Any, expected: type[DeviceError]) -> None:
    async with listening(ScriptedV3(one_frame=True)) as peer:
        for name in ("edevs+summary", "summary", "edevs"):
            peer.replies[f"get.miner.status.{name}"] = reply
        with pytest.raises(expected):
            await driver(peer, deadline_s=0.5).read()


async def test_nobody_listening_is_unreachable() -> None:
    async with listening(ScriptedV3()) as peer:
        device = driver(peer)
    with pytest.raises(Unreachable):
        await device.read()


async def test_writes_go_by_v2_where_that_port_answers() -> None:
    async with both() as (peer, beside):
        applied = await driver(peer, beside.port).apply(allowed(LIMIT_3000))
    assert beside.written == [{"cmd": "adjust_power_limit", "power_limit": "3000"}]
    assert (peer.written, applied.acknowledged) == ([], True)


@pytest.mark.parametrize(
    ("setting", "command", "param"),
    [
        (LIMIT_3000, "set.miner.power_limit", 3000),
        (Setting(Knob.WORK_MODE, "low"), "set.miner.power_mode", "low"),
        (Setting(Knob.POWER_PERCENT, 80.0), "set.miner.power_percent", {"percent": "80", "mode": "normal"}),
        (Setting(Knob.FREQUENCY_PERCENT, 90.0), "set.miner.target_freq", -10),
        (Setting(Knob.STOP), "set.miner.service", "stop"),
    ],
)
async def test_writes_go_natively_without_v2_and_are_read_back(
    setting: Setting, command: str, param: object
) -> None:
    async with listening(ScriptedV3()) as peer:
        applied = await driver(peer).apply(allowed(setting))
    assert peer.written == [{"cmd": command, "param": param}]
    assert (applied.acknowledged, applied.already_set, applied.readback) == (True, False, setting)
    assert applied.sent is not None
    assert "token" not in applied.sent


@pytest.mark.parametrize("v2_there", [False, True])
async def test_a_percentage_within_a_curtailment_is_sent_by_the_fast_command(v2_there: bool) -> None:
    urgent = permit(Setting(Knob.POWER_PERCENT, 80.0), BOUNDS, urgent=True)
    async with both() as (peer, beside):
        await driver(peer, beside.port if v2_there else NOBODY).apply(urgent)
    native = {"cmd": "set.miner.power_percent", "param": {"percent": "80", "mode": "fast"}}
    classic = {"cmd": "set_power_pct", "percent": "80"}
    assert (peer.written, beside.written) == (([], [classic]) if v2_there else ([native], []))


async def test_with_every_v2_token_taken_the_command_goes_by_v3() -> None:
    async with both() as (peer, beside):
        beside.replies["get_token"] = refused(136, "over max connect")
        device = driver(peer, beside.port)
        applied = await device.apply(allowed(LIMIT_3000))
        assert (applied.acknowledged, beside.written) == (True, [])
        assert [write["cmd"] for write in peer.written] == ["set.miner.power_limit"]


@pytest.mark.parametrize("when", [1, 86_400, 4_000_000_000])
async def test_the_token_fits_a_clock_that_was_never_set(when: int) -> None:
    async with listening(ScriptedV3()) as peer:
        peer.ahead_s = when - WHEN
        applied = await driver(peer).apply(allowed(LIMIT_3000))
    assert (applied.acknowledged, len(peer.written)) == (True, 1)


async def test_a_v2_port_that_refuses_the_login_is_left_for_v3() -> None:
    async with both() as (peer, beside):
        beside.password = "other"
        device = driver(peer, beside.port)
        await device.apply(allowed(LIMIT_3000))
        await device.apply(allowed(Setting(Knob.POWER_LIMIT_W, 3100.0)))
    assert beside.written == []
    assert beside.tokens == 2
    assert [write["param"] for write in peer.written] == [3000, 3100]


async def test_a_command_that_v2_refuses_is_not_tried_again_by_v3() -> None:
    async with both() as (peer, beside):
        beside.write_replies["adjust_power_limit"] = refused(132, "command error")
        with pytest.raises(Refused):
            await driver(peer, beside.port).apply(allowed(LIMIT_3000))
    assert peer.written == []


async def test_a_command_that_v2_never_answers_is_not_sent_again_by_v3() -> None:
    async with both() as (peer, beside):
        beside.write_replies["set_low_power"] = CLOSE
        applied = await driver(peer, beside.port).apply(allowed(Setting(Knob.WORK_MODE, "low")))
    assert (applied.acknowledged, len(beside.written), peer.written) == (None, 1, [])


async def test_the_token_is_made_with_the_miners_own_time() -> None:
    async with listening(ScriptedV3(ahead_s=-7200)) as peer:
        assert (await driver(peer).apply(allowed(LIMIT_3000))).acknowledged is True


async def test_a_closed_write_api_is_told_before_anything_is_sent() -> None:
    async with both() as (peer, beside):
        peer.info["system"]["apiswitch"] = "0"
        device = driver(peer, beside.port)
        with pytest.raises(WriteDisabled, match="Miner API Switch"):
            await device.apply(allowed(LIMIT_3000))
        capabilities = await device.capabilities()
    assert (peer.written, beside.written, beside.tokens) == ([], [], 0)
    assert (capabilities.writable, capabilities.remedy is not None) == (False, True)


async def test_an_open_write_api_is_told() -> None:
    async with listening(ScriptedV3()) as peer:
        capabilities = await driver(peer).capabilities()
    assert (capabilities.writable, capabilities.remedy) == (True, None)


async def test_a_wrong_password_is_unauthorised() -> None:
    async with listening(ScriptedV3(password="other")) as peer:
        with pytest.raises(Unauthorised):
            await driver(peer, credentials=Credentials("super", "wrong")).apply(allowed(LIMIT_3000))
    assert peer.written == []


@pytest.mark.parametrize("reply", [HANG, CLOSE, b"\x05\0\0\0abc", struct.pack("<I", 3) + b"abc"])
async def test_no_usable_answer_to_a_write_is_unknown(reply: Any) -> None:
    async with listening(ScriptedV3(one_frame=True)) as peer:
        peer.write_replies["set.miner.power_limit"] = reply
        applied = await driver(peer, write_deadline_s=1.0).apply(allowed(LIMIT_3000))
    assert (applied.acknowledged, len(peer.written)) == (None, 1)


async def test_nothing_is_written_when_the_read_before_fails() -> None:
    async with both() as (peer, beside):
        peer.replies["get.device.info"] = b"\x03\0\0\0abc"
        with pytest.raises(Malformed):
            await driver(peer, beside.port).apply(allowed(LIMIT_3000))
    assert (peer.written, beside.written, beside.tokens) == ([], [], 0)


async def test_what_is_set_already_is_not_sent() -> None:
    async with listening(ScriptedV3()) as peer:
        applied = await driver(peer).apply(allowed(Setting(Knob.POWER_LIMIT_W, 3600.0)))
    assert (applied.already_set, peer.written) == (True, [])


async def test_a_limit_ends_a_percentage_in_force() -> None:
    async with listening(ScriptedV3()) as peer:
        peer.setting["power-percent"] = 80
        applied = await driver(peer).apply(allowed(Setting(Knob.POWER_LIMIT_W, 3600.0)))
    assert peer.written == [{"cmd": "set.miner.power_percent", "param": {"percent": "100", "mode": "normal"}}]
    assert applied.already_set is False


async def test_a_stopped_miner_is_started_before_anything_is_set() -> None:
    async with listening(ScriptedV3()) as peer:
        peer.info["miner"]["working"] = "false"
        await driver(peer).apply(allowed(LIMIT_3000))
    assert [write["cmd"] for write in peer.written] == ["set.miner.service", "set.miner.power_limit"]


async def test_a_knob_that_a_whatsminer_lacks_is_unsupported() -> None:
    async with listening(ScriptedV3()) as peer:
        with pytest.raises(Unsupported):
            await driver(peer).apply(allowed(Setting(Knob.HASHRATE_PERCENT, 90.0)))


async def test_capture_saves_what_decode_reads_without_the_salt() -> None:
    async with both() as (peer, beside):
        peer.info["miner"]["passwd"] = "hunter2"
        endpoint = Endpoint("127.0.0.1", Ports(api=beside.port, api_v3=peer.port), deadline_s=2.0)
        replies = await capture(endpoint, clock())
    assert not any(b"uhCiDyVj" in raw or b"hunter2" in raw for raw in replies.values())
    reading = decode(replies, "127.0.0.1")
    assert (reading.hashrate_ths, reading.mac, reading.shares_accepted) == (178.9, "ce:02:01:00:8c:36", 20)
