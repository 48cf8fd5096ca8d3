"""VNish: a throttle without a restart, pausing, and a preset that is never left below an old throttle."""

import contextlib
from dataclasses import replace

import pytest

from agent.devices.device import Capabilities, Ports
from agent.devices.vnish.driver import VNish
from agent.devices.vnish.parse import Documents, throttle_of
from agent.errors import DeviceError, Unsupported
from agent.hardware.bounds import permit
from agent.setting import Knob, Setting
from simulator.peers import Faults
from tests.devices.cutting_proxy import Cut, Moment
from tests.devices.proxied import BOUNDS, KINDS, STOP, VNISH_W, Rig, rig

KIND = KINDS["vnish"]
SLEEP, WAKE = Setting(Knob.WORK_MODE, "sleep"), Setting(Knob.WORK_MODE, "normal")


def percent(value: float) -> Setting:
    return Setting(Knob.POWER_PERCENT, value)


def offered(found: Capabilities, knob: Knob) -> tuple[float | None, float | None] | None:
    return next(((c.minimum, c.maximum) for c in found.controls if c.knob is knob), None)


async def settled(r: Rig) -> float:
    r.clock.advance(3600.0)
    return r.machine.state().power_w


async def test_a_throttle_lowers_the_power_without_a_restart_and_is_told_back() -> None:
    async with rig(KIND) as r:
        assert offered(await r.device.capabilities(), Knob.POWER_PERCENT) == (20.0, 100.0)
        full_w, began_s = await settled(r), r.machine.state().elapsed_s
        applied = await r.device.apply(permit(percent(70.0), BOUNDS))
        assert (applied.acknowledged, applied.before, applied.readback) == (
            True,
            percent(100.0),
            percent(70.0),
        )
        assert 0.6 * full_w < await settled(r) < 0.75 * full_w
        assert r.machine.state().elapsed_s > began_s
        assert (await r.device.read()).power_percent == 70.0
        assert (await r.device.apply(permit(percent(70.0), BOUNDS))).already_set


async def test_a_new_preset_ends_a_throttle_that_would_stay_below_it() -> None:
    async with rig(KIND) as r:
        await r.device.apply(permit(percent(60.0), BOUNDS))
        applied = await r.device.apply(permit(VNISH_W, BOUNDS))
        assert applied.before == percent(60.0)
        assert applied.readback == VNISH_W
        reading = await r.device.read()
        assert reading.power_percent == 100.0


async def test_a_stopped_unit_is_throttled_before_it_is_started() -> None:
    async with rig(KIND) as r:
        await r.device.apply(permit(STOP, BOUNDS))
        applied = await r.device.apply(permit(percent(60.0), BOUNDS))
        assert applied.sent == "throttle 60 %; mining/start"
        assert applied.readback == percent(60.0)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("number", range(9))
async def test_a_lost_connection_never_wakes_a_unit_at_its_old_power(number: int, moment: Moment) -> None:
    async with rig(KIND, Cut(number, moment)) as r:
        near = VNish(replace(r.device.endpoint, ports=Ports(web=r.peer.ports.web)), r.clock)
        await near.apply(permit(STOP, BOUNDS))
        with contextlib.suppress(DeviceError):
            await r.device.apply(permit(percent(50.0), BOUNDS))
        assert not r.machine.state().mining_enabled or (await near.read()).power_percent == 50.0


async def test_sleep_pauses_and_waking_resumes() -> None:
    async with rig(KIND) as r:
        slept = await r.device.apply(permit(SLEEP, BOUNDS))
        assert (slept.sent, slept.readback) == ("mining/pause", SLEEP)
        assert not r.machine.state().mining_enabled
        assert (await r.device.read()).work_mode == "sleep"
        woken = await r.device.apply(permit(WAKE, BOUNDS))
        assert (woken.sent, woken.readback) == ("mining/resume", WAKE)
        assert r.machine.state().mining_enabled


@pytest.mark.parametrize("value", [72.5])
async def test_a_throttle_takes_whole_percents_alone(value: float) -> None:
    async with rig(KIND) as r:
        with pytest.raises(Unsupported, match="whole percents"):
            await r.device.apply(permit(percent(value), BOUNDS))
        assert (await r.device.read()).power_percent == 100.0


async def test_a_throttle_that_is_acknowledged_without_effect_shows_in_the_read_back() -> None:
    kind = replace(KIND, options=replace(KIND.options, faults=Faults(ack_without_effect=True)))
    async with rig(kind) as r:
        applied = await r.device.apply(permit(percent(70.0), BOUNDS))
        assert (applied.acknowledged, applied.readback) == (True, percent(100.0))


@pytest.mark.parametrize("said", [None, 0, 19, 101, "x", True, float("nan"), 10**40])
def test_a_throttle_that_cannot_be_one_is_unknown(said: object) -> None:
    assert throttle_of(Documents(status={"throttled": said})) is None
