"""Both drivers against the simulator's Whatsminers, which were written apart from them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.whatsminer.v2 import WhatsminerV2
from agent.devices.whatsminer.v2 import capture as capture_v2
from agent.devices.whatsminer.v2 import decode as decode_v2
from agent.devices.whatsminer.v3 import WhatsminerV3
from agent.devices.whatsminer.v3 import capture as capture_v3
from agent.devices.whatsminer.v3 import decode as decode_v3
from agent.errors import (
    DeviceError,
    Malformed,
    Refused,
    Timeout,
    Unauthorised,
    Unreachable,
    WriteDisabled,
)
from agent.hardware.bounds import Bounds, PermittedSetting, permit
from agent.setting import Knob, Setting
from simulator.machine import Machine
from simulator.peers import Faults, Peer, PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics

BOUNDS = (
    Bounds(Knob.POWER_LIMIT_W, 1000, 12000),
    Bounds(Knob.POWER_PERCENT, 50, 100),
    Bounds(Knob.WORK_MODE, choices=("low", "normal", "high")),
    Bounds(Knob.STOP),
)
LIMIT_3000 = Setting(Knob.POWER_LIMIT_W, 3000.0)
V2_MODELS = [key for key in default_physics().models if key.startswith("whatsminer-m2") or "-m30s" in key]
V3_MODELS = ["whatsminer-m60s", "whatsminer-m63"]
MODELS = [*((key, False) for key in V2_MODELS), *((key, True) for key in V3_MODELS)]
SHORT = {"deadline_s": 0.5, "write_deadline_s": 0.5}


@dataclass
class Rig:
    machine: Machine
    peer: Peer
    clock: ManualClock
    v3: bool

    def endpoint(self, **options: Any) -> Endpoint:
        ports = Ports(api=self.peer.ports.api, api_v3=self.peer.ports.api_v3)
        return Endpoint("127.0.0.1", ports, **({"deadline_s": 4.0, "write_deadline_s": 3.0} | options))

    def device(self, **options: Any) -> WhatsminerV2 | WhatsminerV3:
        return (WhatsminerV3 if self.v3 else WhatsminerV2)(self.endpoint(**options), self.clock)


@asynccontextmanager
async def rig(
    model: str = "whatsminer-m30s-plus-plus", v3: bool = False, **options: Any
) -> AsyncIterator[Rig]:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    physics = default_physics().model(model)
    machine = Machine(physics, seed=3, clock=clock, mac="c4:11:04:00:00:07", serial="SN7", ambient=21.5)
    peer = await serve(machine, "127.0.0.1", PeerPorts(0, 0, 0, 0, 0, 0), PeerOptions(api_v3=v3, **options))
    try:
        yield Rig(machine, peer, clock, v3)
    finally:
        await peer.close()


def allowed(setting: Setting) -> PermittedSetting:
    return permit(setting, BOUNDS)


@pytest.mark.parametrize(("model", "v3"), MODELS)
async def test_a_reading_agrees_with_the_machine_in_every_reported_field(model: str, v3: bool) -> None:
    async with rig(model, v3) as it:
        reading = await it.device().read()
        state = it.machine.state()
    near = {"rel": 2e-3}
    assert (reading.mac, reading.model, reading.vendor) == (state.mac, state.model, state.vendor)
    assert reading.firmware_version == state.firmware_version
    assert reading.observed_at == state.now
    assert reading.hashrate_ths == pytest.approx(state.hashrate_ths, **near)
    assert reading.hashrate_5s_ths == pytest.approx(state.hashrate_5s_ths, **near)
    assert reading.hashrate_avg_ths == pytest.approx(state.hashrate_avg_ths, **near)
    assert reading.hashrate_expected_ths == pytest.approx(state.factory_hashrate_ths, **near)
    assert reading.power_w == pytest.approx(state.reported_power_w, **near)
    assert (reading.power_source, reading.power_limit_w) == ("measured", state.power_limit_w)
    assert (reading.work_mode, reading.is_hashing) == (state.power_mode, True)
    assert reading.ambient_temp_c == pytest.approx(state.ambient_c, abs=0.1)
    assert reading.fan_rpm is not None
    assert set(reading.fan_rpm) == (set(state.fan_rpm) or {0.0})
    assert reading.frequency_mhz == pytest.approx(state.frequency_mhz, abs=1.0)
    assert (reading.uptime_s, reading.system_uptime_s) == (state.elapsed_s, state.uptime_s)
    shares = (reading.shares_accepted, reading.shares_rejected, reading.shares_stale)
    assert shares == (state.accepted, state.rejected, state.stale)
    assert reading.errors == ()
    assert reading.chip_temp_c == pytest.approx(
        max(t for board in state.boards for t in board.chip_temps_c), abs=0.1
    )
    assert reading.board_temp_c == pytest.approx(
        max(t for board in state.boards for t in board.pcb_temps_c), abs=0.1
    )
    assert reading.boards is not None
    assert len(reading.boards) == len(state.boards)
    for seen, board in zip(reading.boards, state.boards, strict=True):
        assert (seen.index, seen.chips, seen.state) == (board.index, board.chips, "hashing")
        assert seen.hashrate_ths == pytest.approx(board.hashrate_ths, rel=0.05)
        assert seen.serial == board.serial


async def test_voltage_is_the_boards_or_none_never_the_mains() -> None:
    async with rig() as it:
        assert (await it.device().read()).voltage_v == it.machine.state().voltage_v
    async with rig("whatsminer-m60s", v3=True) as it:
        assert (await it.device().read()).voltage_v is None


@pytest.mark.parametrize(("model", "v3"), MODELS)
async def test_identify_agrees_with_the_machine(model: str, v3: bool) -> None:
    async with rig(model, v3) as it:
        identity = await it.device().identify()
        state = it.machine.state()
    # devdetails leaves the underscore out.
    assert (identity.model or "").replace("_", "") == state.type_text.replace("_", "")
    assert identity.mac == state.mac
    assert identity.firmware_version == state.firmware_version


@pytest.mark.parametrize("v3", [False, True])
async def test_what_is_captured_decodes_to_the_same_reading(v3: bool) -> None:
    async with rig("whatsminer-m60s" if v3 else "whatsminer-m30s", v3) as it:
        live = await it.device().read()
        replies = await (capture_v3 if v3 else capture_v2)(it.endpoint(), it.clock)
    saved = (decode_v3 if v3 else decode_v2)(replies, "127.0.0.1")
    assert saved == live


@pytest.mark.parametrize("v3", [False, True])
@pytest.mark.parametrize("setting", [LIMIT_3000, Setting(Knob.WORK_MODE, "low"), Setting(Knob.STOP)])
async def test_a_write_changes_the_machine_and_shows_in_telemetry(setting: Setting, v3: bool) -> None:
    async with rig("whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus", v3) as it:
        device = it.device()
        await device.read()
        applied = await device.apply(allowed(setting))
        assert applied.already_set is False
        it.clock.advance(3600)
        reading, state = await device.read(), it.machine.state()
    if setting.knob is Knob.POWER_LIMIT_W:
        assert (reading.power_limit_w, state.power_limit_w) == (3000.0, 3000.0)
        assert state.power_w < 3150.0
    elif setting.knob is Knob.WORK_MODE:
        assert (reading.work_mode, state.power_mode) == ("low", "low")
    else:
        assert (reading.work_mode, reading.is_hashing, state.mining_enabled) == ("stopped", False, False)


@pytest.mark.parametrize("v3", [False, True])
async def test_a_power_percentage_lowers_the_power_without_a_restart(v3: bool) -> None:
    async with rig("whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus", v3) as it:
        device = it.device()
        before = await device.read()
        await device.apply(allowed(Setting(Knob.POWER_PERCENT, 80.0)))
        it.clock.advance(900)
        after = await device.read()
    assert it.machine.state().power_percent == 80.0
    assert before.power_w is not None
    assert after.power_w is not None
    assert after.power_w < 0.9 * before.power_w
    assert after.uptime_s == pytest.approx((before.uptime_s or 0.0) + 900)
    assert after.power_percent == (80.0 if v3 else None)


@pytest.mark.parametrize("v3", [False, True])
async def test_a_stopped_machine_is_started_by_any_setting(v3: bool) -> None:
    async with rig("whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus", v3) as it:
        device = it.device()
        await device.apply(allowed(Setting(Knob.STOP)))
        it.clock.advance(600)
        assert (await device.read()).is_hashing is False
        applied = await device.apply(allowed(LIMIT_3000))
        it.clock.advance(3600)
        reading = await device.read()
    assert applied.before == Setting(Knob.STOP)
    assert (reading.is_hashing, reading.work_mode, reading.power_limit_w) == (True, "normal", 3000.0)


@pytest.mark.parametrize("v3", [False, True])
async def test_a_closed_write_api_is_named_and_nothing_changes(v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, write_enabled=False) as it:
        before = it.machine.state().power_limit_w
        device = it.device()
        with pytest.raises(WriteDisabled, match="Miner API Switch"):
            await device.apply(allowed(LIMIT_3000))
        capabilities = await device.capabilities()
        assert it.machine.state().power_limit_w == before
    assert capabilities.writable is False
    assert capabilities.remedy is not None


@pytest.mark.parametrize("v3", [False, True])
async def test_a_wrong_password_is_unauthorised_and_nothing_changes(v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, password="right") as it:
        before = it.machine.state().power_limit_w
        with pytest.raises(Unauthorised):
            await it.device(credentials=Credentials("super", "wrong")).apply(allowed(LIMIT_3000))
        assert it.machine.state().power_limit_w == before


@pytest.mark.parametrize("v3", [False, True])
async def test_the_right_password_is_accepted(v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, password="right") as it:
        applied = await it.device(credentials=Credentials("super", "right")).apply(allowed(LIMIT_3000))
    assert applied.acknowledged is True


async def test_a_token_that_ran_out_at_the_miner_is_fetched_anew() -> None:
    async with rig() as it:
        device = it.device()
        await device.apply(allowed(LIMIT_3000))
        it.clock.advance(3 * 3600)
        applied = await device.apply(allowed(Setting(Knob.POWER_LIMIT_W, 3100.0)))
    assert applied.acknowledged is True


async def test_a_miner_that_rejects_every_token_is_unauthorised() -> None:
    async with rig(faults=Faults(token_expired=True)) as it:
        with pytest.raises(Unauthorised):
            await it.device().apply(allowed(LIMIT_3000))


async def test_a_miner_without_free_tokens_refuses() -> None:
    async with rig(faults=Faults(token_limit=True)) as it:
        with pytest.raises(Refused):
            await it.device().apply(allowed(LIMIT_3000))


async def test_an_acknowledgement_without_effect_shows_in_the_read_back() -> None:
    async with rig(faults=Faults(ack_without_effect=True)) as it:
        before = it.machine.state().power_limit_w
        applied = await it.device().apply(allowed(LIMIT_3000))
    assert applied.acknowledged is True
    assert applied.readback == Setting(Knob.POWER_LIMIT_W, before)


@pytest.mark.parametrize("skew_s", [-9e8, -86400.0, 7200.0, 9e8])
async def test_a_miner_with_a_wrong_clock_is_written_to_all_the_same(skew_s: float) -> None:
    async with rig("whatsminer-m60s", v3=True, faults=Faults(clock_skew_s=skew_s)) as it:
        ports = Ports(api=1, api_v3=it.peer.ports.api_v3)
        device = WhatsminerV3(Endpoint("127.0.0.1", ports, write_deadline_s=8.0), it.clock)
        applied = await device.apply(allowed(LIMIT_3000))
        assert it.machine.state().power_limit_w == 3000.0
    assert applied.acknowledged is True


@pytest.mark.parametrize("v3", [False, True])
async def test_unknown_power_is_none_or_from_the_power_supply(v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, faults=Faults(unknown_power=True)) as it:
        reading = await it.device().read()
        true_w = it.machine.state().power_w
    assert reading.power_w is None or reading.power_w == pytest.approx(true_w, rel=0.1)
    assert (reading.power_source is None) == (reading.power_w is None)
    assert reading.hashrate_ths is not None


@pytest.mark.parametrize("fault", ["extra_nul", "broken_error_list", "broken_psu"])
@pytest.mark.parametrize("v3", [False, True])
async def test_replies_that_can_be_repaired_are_read(fault: str, v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, faults=Faults(**{fault: True})) as it:
        reading = await it.device().read()
    assert reading.hashrate_ths is not None
    assert reading.errors is not None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("unplugged", Unreachable),
        ("hang", Timeout),
        ("slow_drip", Timeout),
        ("garbage", (Malformed, Unreachable, Timeout)),
        ("cut_mid_json", (Malformed, Unreachable)),
    ],
)
@pytest.mark.parametrize("v3", [False, True])
async def test_faults_of_the_line_are_typed_errors(fault: str, expected: type[DeviceError], v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, faults=Faults(**{fault: True})) as it:
        for setting in (None, LIMIT_3000):
            device = it.device(**SHORT)
            with pytest.raises(expected):
                await (device.read() if setting is None else device.apply(allowed(setting)))


async def test_after_a_fault_the_same_device_reads_again() -> None:
    async with rig(faults=Faults(unplugged=True)) as it:
        device = it.device()
        with pytest.raises(Unreachable):
            await device.read()
        await it.peer.set_faults(Faults())
        # The port is another one after the gap only if it was free to choose.
        device = it.device()
        assert (await device.read()).is_hashing is True


@pytest.mark.parametrize("v3", [False, True])
async def test_a_process_that_is_down_does_not_stop_the_poll(v3: bool) -> None:
    model = "whatsminer-m60s" if v3 else "whatsminer-m30s-plus-plus"
    async with rig(model, v3, faults=Faults(process_down=True)) as it:
        reading = await it.device().read()
        watts = it.machine.state().reported_power_w
    assert (reading.hashrate_ths, reading.boards, reading.is_hashing) == (None, None, None)
    # v3's device info has the power supply's own figure.
    assert reading.power_w == (pytest.approx(watts, rel=0.05) if v3 else None)
