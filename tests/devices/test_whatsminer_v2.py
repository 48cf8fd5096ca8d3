"""The v2 driver against a scripted miner on a real socket."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.whatsminer.v2 import WhatsminerV2, capture
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
from tests.devices.whatsminer_scripted import CLOSE, HANG, ScriptedV2, listed, listening, refused, said

BOUNDS = (
    Bounds(Knob.POWER_LIMIT_W, 2000, 3472.4),
    Bounds(Knob.POWER_PERCENT, 50, 100),
    Bounds(Knob.WORK_MODE, choices=("low", "normal", "high", "sleep", "efficient")),
    Bounds(Knob.STOP),
    Bounds(Knob.HASHRATE_PERCENT, 50, 100),
    Bounds(Knob.FREQUENCY_PERCENT, 0, 250),
)
LIMIT_3000 = Setting(Knob.POWER_LIMIT_W, 3000.0)


def allowed(setting: Setting) -> PermittedSetting:
    return permit(setting, BOUNDS)


def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 23, tzinfo=UTC))


def driver(peer: ScriptedV2, at: ManualClock | None = None, **options: Any) -> WhatsminerV2:
    options = {"deadline_s": 2.0, "write_deadline_s": 4.0} | options
    return WhatsminerV2(Endpoint("127.0.0.1", Ports(api=peer.port), **options), at or clock())


async def test_identify_names_model_mac_serial_and_version() -> None:
    async with listening(ScriptedV2()) as peer:
        identity = await driver(peer).identify()
    assert (identity.family, identity.vendor, identity.firmware) == ("whatsminer-v2", "microbt", "stock")
    assert (identity.model, identity.mac) == ("M30S++_VH50", "c4:11:04:01:02:03")
    assert (identity.serial, identity.firmware_version) == ("SN1", "20230803.11.REL")


async def test_something_that_knows_none_of_the_commands_is_not_identified() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.replies = dict.fromkeys(
            ("get_version", "get_miner_info", "devdetails", "summary"), refused(14, "invalid cmd")
        )
        with pytest.raises(Unsupported):
            await driver(peer).identify()


async def test_a_reading_has_the_arrival_time_of_the_injected_clock() -> None:
    async with listening(ScriptedV2()) as peer:
        reading = await driver(peer).read()
    assert reading.observed_at == datetime(2026, 11, 23, tzinfo=UTC)


async def test_the_first_reading_is_complete() -> None:
    async with listening(ScriptedV2()) as peer:
        reading = await driver(peer).read()
    assert (reading.model, reading.mac) == ("whatsminer-m30s-plus-plus", "c4:11:04:01:02:03")
    assert (reading.hashrate_ths, reading.power_w, reading.power_source) == (112.0, 3400.0, "measured")
    assert (reading.shares_accepted, reading.shares_stale, reading.errors) == (20, 1, ())
    assert reading.boards is not None
    assert [board.chips for board in reading.boards] == [111, 111, 111]


@pytest.mark.parametrize("joins", [True, False])
async def test_later_readings_take_two_requests_or_fewer(joins: bool) -> None:
    at = clock()
    async with listening(ScriptedV2(joins=joins)) as peer:
        device = driver(peer, at)
        await device.read()
        for _ in range(40):
            peer.asked.clear()
            at.advance(60)
            reading = await device.read()
            assert len(peer.asked) <= 2
            assert reading.mac is not None


async def test_boards_are_in_most_readings_even_without_joins() -> None:
    at = clock()
    async with listening(ScriptedV2(joins=False)) as peer:
        device = driver(peer, at)
        await device.read()
        seen = 0
        for _ in range(16):
            at.advance(60)
            seen += (await device.read()).boards is not None
    assert seen == 14


async def test_every_slow_fact_gets_its_turn() -> None:
    at = clock()
    async with listening(ScriptedV2()) as peer:
        device = driver(peer, at)
        await device.read()
        peer.asked.clear()
        for _ in range(30):
            at.advance(60)
            await device.read()
        asked = set(peer.asked)
    assert {"status", "get_error_code", "pools", "get_miner_info"} <= asked


async def test_old_pool_counters_are_not_shown_as_current() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
        await device.read()
        peer.state.pop("Accepted")
        reading = await device.read()
    assert reading.shares_accepted is None
    assert reading.pools is not None
    assert reading.pools[0].accepted is None


async def test_a_stop_is_seen_in_the_very_next_reading() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
        await device.read()
        peer.status["mineroff"] = "true"
        peer.state |= {"MHS 5s": 0, "MHS 1m": 0, "HS RT": 0}
        reading = await device.read()
    assert (reading.work_mode, reading.is_hashing) == ("stopped", False)


async def test_a_start_is_seen_in_the_very_next_reading() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
        peer.status["mineroff"] = "true"
        assert (await device.read()).work_mode == "stopped"
        peer.status["mineroff"] = "false"
        assert (await device.read()).work_mode == "normal"


async def test_another_machine_at_the_address_is_noticed_after_a_restart() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
        await device.read()
        peer.mac, peer.state["Elapsed"] = "C4:11:04:09:09:09", 5
        reading = await device.read()
    assert reading.mac == "c4:11:04:09:09:09"


async def test_a_process_that_is_down_still_gives_a_reading_of_the_rest() -> None:
    async with listening(ScriptedV2()) as peer:
        down = refused(132, "btminer process is down")
        peer.replies = {"summary": down, "edevs": down, "summary+edevs": down}
        peer.status["mineroff"] = "true"
        reading = await driver(peer).read()
    assert (reading.is_hashing, reading.hashrate_ths, reading.work_mode) == (False, None, "stopped")


async def test_a_process_that_is_down_takes_two_requests_as_well() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
        await device.read()
        down = refused(132, "btminer process is down")
        peer.replies = {"summary": down, "edevs": down, "summary+edevs": down}
        peer.asked.clear()
        await device.read()
    assert peer.asked == ["summary+edevs", "status"]


async def test_power_unknown_to_the_summary_comes_from_the_power_supply() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.state["Power"] = -1
        peer.replies["get_psu"] = said({"pin": "3377"})
        device = driver(peer)
        assert (await device.read()).power_w == 3377.0
        assert (await device.read()).power_w == 3377.0


async def test_a_reply_on_a_socket_that_stays_open_is_taken_when_complete() -> None:
    async with listening(ScriptedV2(keeps_open=True)) as peer:
        reading = await driver(peer).read()
    assert reading.hashrate_ths == 112.0


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (HANG, Timeout),
        (CLOSE, Unreachable),
        (b"garbage", Malformed),
        (b"\0", Malformed),
        (b"<html></html>", Malformed),
        (b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":1,', Malformed),
        (b"[1]", Malformed),
        (listed("SUMMARY", []), Malformed),
        (said({"x": 1}), Malformed),
        (refused(132, "no"), Refused),
        (b"Socket connect failed: Connection refused\n", Unreachable),
    ],
)
async def test_odd_summaries_become_typed_errors(reply: Any, expected: type[DeviceError]) -> None:
    async with listening(ScriptedV2()) as peer:
        peer.replies = {"summary": reply, "summary+edevs": reply}
        with pytest.raises(expected):
            await driver(peer, deadline_s=0.6).read()


async def test_nobody_listening_is_unreachable() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
    with pytest.raises(Unreachable):
        await device.read()


async def test_a_reply_without_end_is_cut_off_at_the_deadline() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"{}}")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    device = WhatsminerV2(Endpoint("127.0.0.1", Ports(api=port), deadline_s=0.5), clock())
    with pytest.raises(Timeout):
        await device.read()
    server.close()
    await asyncio.sleep(0.05)


async def test_a_power_limit_is_sent_as_text_and_read_back() -> None:
    async with listening(ScriptedV2()) as peer:
        applied = await driver(peer).apply(allowed(LIMIT_3000))
    assert peer.written == [{"cmd": "adjust_power_limit", "power_limit": "3000"}]
    assert (applied.acknowledged, applied.already_set, applied.readback) == (True, False, LIMIT_3000)
    assert applied.before == Setting(Knob.POWER_LIMIT_W, 3472.0)
    assert applied.sent == '{"cmd": "adjust_power_limit", "power_limit": "3000"}'


@pytest.mark.parametrize("pkcs7", [True, False])
async def test_encrypted_answers_with_either_padding_count_as_acknowledged(pkcs7: bool) -> None:
    async with listening(ScriptedV2(pkcs7=pkcs7)) as peer:
        applied = await driver(peer).apply(allowed(LIMIT_3000))
    assert applied.acknowledged is True


async def test_a_fraction_is_rounded_inside_the_bounds() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.state["Power Limit"] = 3000
        await driver(peer).apply(allowed(Setting(Knob.POWER_LIMIT_W, 3472.4)))
    assert peer.written[0]["power_limit"] == "3472"


async def test_what_is_set_already_is_not_sent() -> None:
    async with listening(ScriptedV2()) as peer:
        applied = await driver(peer).apply(allowed(Setting(Knob.POWER_LIMIT_W, 3472.0)))
    assert (applied.already_set, applied.sent, peer.written, peer.tokens) == (True, None, [], 0)


@pytest.mark.parametrize("reply", [HANG, CLOSE, b"garbage", refused(45, "no")])
@pytest.mark.parametrize("command", ["summary", "status"])
async def test_nothing_is_written_when_the_read_before_fails(reply: Any, command: str) -> None:
    async with listening(ScriptedV2()) as peer:
        peer.replies[command] = reply
        with pytest.raises(DeviceError):
            await driver(peer, write_deadline_s=0.8).apply(allowed(LIMIT_3000))
    assert (peer.written, peer.tokens) == ([], 0)


async def test_a_percentage_is_sent_by_the_gentle_command() -> None:
    async with listening(ScriptedV2()) as peer:
        applied = await driver(peer).apply(allowed(Setting(Knob.POWER_PERCENT, 80.0)))
    assert peer.written == [{"cmd": "set_power_pct_v2", "percent": "80"}]
    assert applied.before == Setting(Knob.POWER_PERCENT, 100.0)
    assert applied.readback is None


async def test_within_a_curtailment_a_percentage_is_sent_by_the_fast_command() -> None:
    async with listening(ScriptedV2()) as peer:
        await driver(peer).apply(permit(Setting(Knob.POWER_PERCENT, 80.0), BOUNDS, urgent=True))
    assert peer.written == [{"cmd": "set_power_pct", "percent": "80"}]


async def test_a_hundred_percent_is_the_end_of_a_percentage() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.status["power_pct"] = 80
        await driver(peer).apply(allowed(Setting(Knob.POWER_PERCENT, 100.0)))
    assert peer.written == [{"cmd": "restore_power_pct"}]


async def test_a_frequency_is_sent_as_the_change_from_normal() -> None:
    async with listening(ScriptedV2()) as peer:
        await driver(peer).apply(allowed(Setting(Knob.FREQUENCY_PERCENT, 90.0)))
    assert peer.written == [{"cmd": "set_target_freq", "percent": "-10"}]


@pytest.mark.parametrize("value", [0.0, 201.0, 250.0])
async def test_a_frequency_outside_what_the_firmware_takes_is_not_sent(value: float) -> None:
    async with listening(ScriptedV2()) as peer:
        with pytest.raises(Refused, match="nothing was sent"):
            await driver(peer).apply(allowed(Setting(Knob.FREQUENCY_PERCENT, value)))
    assert (peer.written, peer.tokens) == ([], 0)


async def test_undoing_a_percentage_by_a_limit_restores_full_power() -> None:
    async with listening(ScriptedV2()) as peer:
        device = driver(peer)
        await device.apply(allowed(Setting(Knob.POWER_PERCENT, 80.0)))
        peer.written.clear()
        await device.apply(allowed(Setting(Knob.POWER_LIMIT_W, 3472.0)))
    assert peer.written == [{"cmd": "restore_power_pct"}]


async def test_a_percentage_that_the_firmware_tells_is_read_back() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.status["power_pct"] = 80
        applied = await driver(peer).apply(allowed(Setting(Knob.POWER_PERCENT, 80.0)))
    assert (applied.already_set, applied.readback) == (True, Setting(Knob.POWER_PERCENT, 80.0))


@pytest.mark.parametrize("reply", [HANG, CLOSE, b"\xff\xfe", b'{"enc":"QUJD"}'])
async def test_a_mode_change_without_a_usable_answer_is_unknown_and_sent_once(reply: Any) -> None:
    async with listening(ScriptedV2()) as peer:
        peer.write_replies["set_low_power"] = reply
        applied = await driver(peer, write_deadline_s=2.0).apply(allowed(Setting(Knob.WORK_MODE, "low")))
    assert applied.acknowledged is None
    assert peer.written == [{"cmd": "set_low_power"}]
    assert applied.readback == Setting(Knob.WORK_MODE, "normal")


async def test_stop_asks_for_an_answer_before_the_power_goes() -> None:
    async with listening(ScriptedV2()) as peer:
        applied = await driver(peer).apply(allowed(Setting(Knob.STOP)))
    assert peer.written == [{"cmd": "power_off", "respbefore": "true"}]
    assert applied.readback == Setting(Knob.STOP)
    assert applied.before == Setting(Knob.POWER_LIMIT_W, 3472.0)


async def test_a_stopped_miner_is_started_before_anything_is_set() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.status["mineroff"] = "true"
        applied = await driver(peer).apply(allowed(LIMIT_3000))
    assert [write["cmd"] for write in peer.written] == ["power_on", "adjust_power_limit"]
    assert applied.before == Setting(Knob.STOP)


async def test_a_stopped_miner_whose_process_is_down_can_be_started() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.status["mineroff"] = "true"
        peer.replies["summary"] = refused(132, "btminer process is down")
        await driver(peer).apply(allowed(Setting(Knob.WORK_MODE, "normal")))
    assert [write["cmd"] for write in peer.written] == ["power_on"]


async def test_a_later_step_that_fails_leaves_the_act_unknown_not_failed() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.status["mineroff"] = "true"
        peer.write_replies["adjust_power_limit"] = refused(132, "command error")
        applied = await driver(peer).apply(allowed(LIMIT_3000))
    assert (applied.acknowledged, applied.before) == (None, Setting(Knob.STOP))
    assert applied.sent is not None
    assert "power_on" in applied.sent
    assert "refused" in applied.sent


async def test_the_api_switch_being_off_is_write_disabled_with_the_remedy() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.write_replies["adjust_power_limit"] = refused(45, "can't access write cmd")
        device = driver(peer)
        with pytest.raises(WriteDisabled, match="Miner API Switch"):
            await device.apply(allowed(LIMIT_3000))
        capabilities = await device.capabilities()
    assert capabilities.writable is False
    assert capabilities.remedy is not None
    assert "WhatsMinerTool" in capabilities.remedy


async def test_the_switch_is_asked_again_after_a_while() -> None:
    at = clock()
    async with listening(ScriptedV2()) as peer:
        peer.replies["get_token"] = refused(45, "can't access write cmd")
        device = driver(peer, at)
        assert (await device.capabilities()).writable is False
        del peer.replies["get_token"]
        at.advance(3600)
        assert (await device.capabilities()).writable is None


async def test_a_wrong_password_is_unauthorised_and_nothing_is_done() -> None:
    async with listening(ScriptedV2(password="other")) as peer:
        with pytest.raises(Unauthorised):
            await driver(peer).apply(allowed(LIMIT_3000))
    assert (peer.written, peer.tokens) == ([], 2)


async def test_the_password_of_the_endpoint_is_used() -> None:
    async with listening(ScriptedV2(password="other")) as peer:
        device = driver(peer, credentials=Credentials("admin", "other"))
        assert (await device.apply(allowed(LIMIT_3000))).acknowledged is True


async def test_a_token_is_kept_for_half_an_hour_of_the_injected_clock() -> None:
    at = clock()
    async with listening(ScriptedV2()) as peer:
        device = driver(peer, at)
        for watts in (3000.0, 3100.0, 3200.0):
            await device.apply(allowed(Setting(Knob.POWER_LIMIT_W, watts)))
            at.advance(1200)
        assert peer.tokens == 1
        at.advance(700)
        await device.apply(allowed(Setting(Knob.POWER_LIMIT_W, 3300.0)))
    assert peer.tokens == 2


async def test_a_token_that_never_ends_is_kept() -> None:
    at = clock()
    async with listening(ScriptedV2(timeout="0")) as peer:
        device = driver(peer, at)
        await device.apply(allowed(LIMIT_3000))
        at.advance(86400)
        await device.apply(allowed(Setting(Knob.POWER_LIMIT_W, 3100.0)))
    assert peer.tokens == 1


async def test_an_expired_token_is_fetched_anew_once() -> None:
    async with listening(ScriptedV2(rejects=1)) as peer:
        applied = await driver(peer).apply(allowed(LIMIT_3000))
    assert (applied.acknowledged, peer.tokens, len(peer.written)) == (True, 2, 1)


async def test_no_free_token_is_refused_and_not_asked_again_at_once() -> None:
    at = clock()
    async with listening(ScriptedV2()) as peer:
        peer.replies["get_token"] = refused(136, "token over max times")
        device = driver(peer, at)
        for _ in range(3):
            with pytest.raises(Refused, match="token"):
                await device.apply(allowed(LIMIT_3000))
        assert peer.tokens == 1
        at.advance(61)
        with pytest.raises(Refused):
            await device.apply(allowed(LIMIT_3000))
    assert peer.tokens == 2


@pytest.mark.parametrize("code", [131, 133, 134, 0])
async def test_success_is_the_status_whatever_the_code(code: int) -> None:
    async with listening(ScriptedV2()) as peer:
        peer.write_replies["adjust_power_limit"] = said("ok", code)
        assert (await driver(peer).apply(allowed(LIMIT_3000))).acknowledged is True


async def test_a_refused_command_is_refused() -> None:
    async with listening(ScriptedV2()) as peer:
        peer.write_replies["adjust_power_limit"] = refused(132, "command error")
        with pytest.raises(Refused, match="command error"):
            await driver(peer).apply(allowed(LIMIT_3000))


@pytest.mark.parametrize(
    "setting",
    [
        Setting(Knob.HASHRATE_PERCENT, 90.0),
        Setting(Knob.WORK_MODE, "sleep"),
        Setting(Knob.WORK_MODE, "efficient"),
    ],
)
async def test_knobs_that_a_whatsminer_lacks_are_unsupported(setting: Setting) -> None:
    async with listening(ScriptedV2()) as peer:
        with pytest.raises(Unsupported):
            await driver(peer).apply(allowed(setting))
    assert peer.written == []


async def test_capabilities_offer_the_knobs_that_the_firmware_shows_again() -> None:
    async with listening(ScriptedV2()) as peer:
        capabilities = await driver(peer).capabilities()
    # Classic firmware takes a power percentage and never tells it: nothing could confirm one.
    assert {c.knob for c in capabilities.controls} == {
        Knob.POWER_LIMIT_W,
        Knob.WORK_MODE,
        Knob.STOP,
    }
    assert all(c.minimum is None and c.maximum is None for c in capabilities.controls)
    assert capabilities.writable is None


async def test_capture_saves_what_decode_reads_without_passwords() -> None:
    from agent.devices.whatsminer.v2 import decode

    async with listening(ScriptedV2()) as peer:
        row = {"URL": "stratum+tcp://p:1", "User": "u", "passwd": "hunter2", "Accepted": 5}
        peer.replies["pools"] = listed("POOLS", [row])
        endpoint = Endpoint("127.0.0.1", Ports(api=peer.port), deadline_s=2.0)
        replies = await capture(endpoint, clock())
    assert not any(b"hunter2" in raw for raw in replies.values())
    assert json.loads(replies["summary.json"])["SUMMARY"]
    reading = decode(replies, "127.0.0.1")
    assert (reading.hashrate_ths, reading.shares_accepted) == (112.0, 5)
    assert reading.observed_at is not None
