"""The Antminer driver against simulated machines on real sockets: what it reads, writes and leaves alone."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.clock import ManualClock, ScaledClock
from agent.devices.antminer.config import usable
from agent.devices.antminer.stock import AntminerStock, capture, decode
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.identify import identify_family
from agent.errors import DeviceError, Malformed, Refused, Unauthorised
from agent.hardware.bounds import PermittedSetting, permit
from agent.hardware.catalogue import Catalogue
from agent.setting import Setting
from simulator.farm import run_farm
from simulator.machine import Machine
from simulator.peers import PeerOptions, PeerPorts, serve
from tests.chain.farms import NOON, PORT_OFFSET, farm_spec

PORTS = Ports(4028 + PORT_OFFSET, 80 + PORT_OFFSET, 6060 + PORT_OFFSET, 4433 + PORT_OFFSET)
MODELS = [
    ("antminer-s19-pro", "antminer-legacy"),
    ("antminer-s19j-pro", "antminer-legacy"),
    ("antminer-s19-xp", "antminer-new"),
    ("antminer-s21", "antminer-new"),
    ("antminer-s9", "antminer-legacy"),
]


class Bench:
    """One simulated machine with its driver."""

    def __init__(self, machine: Machine, endpoint: Endpoint, clock: ManualClock, peer: Any) -> None:
        self.machine = machine
        self.endpoint = endpoint
        self.clock = clock
        self.peer = peer
        self.device = AntminerStock(endpoint, clock)


@asynccontextmanager
async def bench(folder: Path, model: str, firmware: str, **group: Any) -> AsyncIterator[Bench]:
    clock = ManualClock(NOON)
    spec = farm_spec([{"model": model, "host": 10, "firmware": firmware, **group}], folder)
    async with run_farm(spec, clock) as farm:
        address, machine = next(iter(farm.machines.items()))
        endpoint = Endpoint(address, PORTS, deadline_s=5.0)
        yield Bench(machine, endpoint, clock, farm.peers[address])


def allowed(model: str, text: str) -> PermittedSetting:
    setting = Setting.parse(text)
    return permit(setting, Catalogue.load().profiles[model].bounds("stock"))


@pytest.mark.parametrize(("model", "firmware"), MODELS)
async def test_a_reading_agrees_with_the_machine_and_is_none_where_the_firmware_is_silent(
    tmp_path: Path, model: str, firmware: str
) -> None:
    async with bench(tmp_path, model, firmware) as b:
        reading = await b.device.read()
        truth = b.machine.state()
        assert reading.model == model
        assert reading.mac == reading.miner_id == truth.mac
        # An S9 has no 30 min rate: its average since the start is the steadiest it tells.
        steady = truth.hashrate_avg_ths if model == "antminer-s9" else truth.hashrate_30m_ths
        assert reading.hashrate_ths == pytest.approx(steady, rel=1e-3)
        assert reading.hashrate_5s_ths == pytest.approx(truth.hashrate_5s_ths, rel=1e-3)
        assert reading.hashrate_avg_ths == pytest.approx(truth.hashrate_avg_ths, rel=1e-3)
        assert reading.is_hashing is True
        assert reading.uptime_s == pytest.approx(truth.elapsed_s, abs=1)
        assert reading.frequency_mhz == pytest.approx(truth.frequency_mhz, rel=0.01)
        assert (reading.shares_accepted, reading.shares_rejected) == (truth.accepted, truth.rejected)
        assert len(reading.boards or ()) == len(truth.boards)
        for seen, board in zip(reading.boards or (), truth.boards, strict=True):
            assert seen.chips == board.chips
            assert seen.hashrate_ths == pytest.approx(board.hashrate_ths, rel=1e-3)
            assert seen.chip_temp_c == pytest.approx(max(board.chip_temps_c), abs=1.0)
        assert sorted(reading.fan_rpm or ()) == pytest.approx(sorted(truth.fan_rpm), abs=31)
        if truth.reported_power_w is None:
            assert reading.power_w is None
            assert reading.power_source is None
        else:
            assert reading.power_w == pytest.approx(truth.reported_power_w, rel=0.01)
        assert reading.inlet_temp_c is None or reading.inlet_temp_c == pytest.approx(truth.inlet_c, abs=6.0)


@pytest.mark.parametrize(("model", "firmware"), MODELS)
async def test_it_is_identified_by_cheap_reads(tmp_path: Path, model: str, firmware: str) -> None:
    async with bench(tmp_path, model, firmware) as b:
        family = "antminer-old" if model == "antminer-s9" else "antminer-stock"
        assert await identify_family(b.endpoint, b.clock) == family
        identity = await b.device.identify()
        assert identity.mac == b.machine.state().mac
        assert identity.model == b.machine.state().type_text


@pytest.mark.parametrize(
    ("model", "firmware", "text", "mode"),
    [
        ("antminer-s19-pro", "antminer-legacy", "work_mode=low", "low"),
        ("antminer-s19-pro", "antminer-legacy", "stop", "sleep"),
        ("antminer-s19-xp", "antminer-new", "work_mode=sleep", "sleep"),
        ("antminer-s19k-pro", "antminer-legacy", "work_mode=efficient", "efficient"),
    ],
)
async def test_a_mode_is_applied_and_nothing_else_changes(
    tmp_path: Path, model: str, firmware: str, text: str, mode: str
) -> None:
    async with bench(tmp_path, model, firmware) as b:
        await b.device.read()
        pools = copy.deepcopy(b.machine.pools)
        before = await configuration(b)
        applied = await b.device.apply(allowed(model, text))
        assert applied.acknowledged is True
        assert not applied.already_set
        assert applied.before == Setting.parse("work_mode=normal")
        assert applied.readback == Setting.parse(text)
        assert "***" in (applied.sent or "")
        assert b.machine.state().work_mode == mode
        assert b.machine.pools == pools
        after = await configuration(b)
        assert {k: v for k, v in after.items() if k != "bitmain-work-mode"} == {
            k: v for k, v in before.items() if k != "bitmain-work-mode"
        }


async def test_hashrate_percent_is_applied_without_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s21", "antminer-new", offers_hashrate_percent=True) as b:
        running = (await b.device.read()).uptime_s
        capabilities = await b.device.capabilities()
        ranges = {str(c.knob): (c.minimum, c.maximum) for c in capabilities.controls}
        assert ranges["hashrate_percent"] == (65.0, 100.0)
        applied = await b.device.apply(allowed("antminer-s21", "hashrate_percent=80"))
        assert applied.readback == Setting.parse("hashrate_percent=80")
        b.clock.advance(900.0)
        reading = await b.device.read()
        assert reading.hashrate_percent == 80.0
        assert reading.uptime_s == pytest.approx((running or 0.0) + 900.0, abs=2.0)
        assert b.machine.state().hashrate_ideal_ths == pytest.approx(
            0.8 * b.machine.state().factory_hashrate_ths, rel=0.05
        )


async def test_what_is_set_already_is_not_sent_again(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy") as b:
        applied = await b.device.apply(allowed("antminer-s19-pro", "work_mode=normal"))
        assert applied.already_set
        assert applied.sent is None


async def test_a_sleeping_machine_is_not_hashing_whatever_its_fans_and_chips_say(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", initial={"work_mode": "sleep"}) as b:
        reading = await b.device.read()
        assert reading.work_mode == "sleep"
        assert reading.is_hashing is False
        assert not reading.hashrate_ths


@pytest.mark.parametrize("fault", ["http_500_on_conf", "login_loop", "web_dead", "hang", "garbage"])
async def test_a_failed_read_of_the_configuration_forbids_the_write(tmp_path: Path, fault: str) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", faults={fault: True}) as b:
        pools = copy.deepcopy(b.machine.pools)
        device = AntminerStock(Endpoint(b.endpoint.address, PORTS, deadline_s=1.0), b.clock)
        with pytest.raises(DeviceError):
            await device.apply(allowed("antminer-s19-pro", "work_mode=low"))
        assert b.machine.state().work_mode == "normal"
        assert b.machine.pools == pools


async def test_a_locked_configuration_is_refused_in_its_own_words(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", faults={"config_locked": True}) as b:
        with pytest.raises(Refused, match="busy"):
            await b.device.apply(allowed("antminer-s19-pro", "work_mode=low"))


async def test_a_wrong_password_is_told_apart_from_silence(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy") as b:
        wrong = Endpoint(b.endpoint.address, PORTS, Credentials("root", "wrong"), deadline_s=5.0)
        device = AntminerStock(wrong, b.clock)
        with pytest.raises(Unauthorised, match="credentials"):
            await device.apply(allowed("antminer-s19-pro", "work_mode=low"))
        assert (await device.read()).hashrate_ths is not None
        capabilities = await device.capabilities()
        assert capabilities.writable is False


async def test_a_stale_nonce_is_renewed(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", faults={"stale_nonce": True}) as b:
        for _ in range(3):
            b.clock.advance(4000.0)
            assert (await b.device.read()).mac == b.machine.state().mac


@pytest.mark.parametrize("fault", ["unplugged", "hang", "garbage", "cut_mid_json"])
async def test_trouble_is_a_typed_error(tmp_path: Path, fault: str) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", faults={fault: True}) as b:
        device = AntminerStock(Endpoint(b.endpoint.address, PORTS, deadline_s=1.0), b.clock)
        with pytest.raises(DeviceError) as raised:
            await device.read()
        expected = {
            "unplugged": "unreachable",
            "hang": "timeout",
            "garbage": "malformed",
            "cut_mid_json": "malformed",
        }
        assert raised.value.kind == expected[fault]


@pytest.mark.parametrize("fault", ["extra_nul", "web_dead", "unknown_power"])
async def test_oddities_do_not_stop_a_reading(tmp_path: Path, fault: str) -> None:
    async with bench(tmp_path, "antminer-s21", "antminer-new", faults={fault: True}) as b:
        reading = await b.device.read()
        assert reading.hashrate_ths is not None
        if fault == "unknown_power":
            assert reading.power_w is None


async def test_a_capture_holds_no_secret_and_decodes_to_the_reading(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s21", "antminer-new") as b:
        replies = await capture(b.endpoint, b.clock)
        live = await b.device.read()
    secrets = [pool for pool in b.machine.pools if pool.url]
    assert secrets
    for pool in secrets:
        assert pool.password
        assert all(f'"{pool.password}"'.encode() not in raw for raw in replies.values())
    saved = decode(replies)
    for name in (
        "mac",
        "model",
        "hashrate_ths",
        "hashrate_5s_ths",
        "power_w",
        "boards",
        "work_mode",
        "fan_rpm",
    ):
        assert getattr(saved, name) == getattr(live, name), name


async def test_a_configuration_that_could_wipe_pools_is_never_written_back(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy") as b:
        for broken in (
            [],
            None,
            [{"url": "ERR", "user": "ERR", "pass": "ERR"}],
            [{"url": "", "user": "", "pass": ""}],
        ):
            conf = {"pools": broken, "bitmain-work-mode": "0"}
            with pytest.raises(Malformed, match="nothing is written"):
                usable(conf, b.endpoint.address)


async def test_a_sleeper_is_woken_and_hashes_again(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", initial={"work_mode": "sleep"}) as b:
        applied = await b.device.apply(allowed("antminer-s19-pro", "work_mode=normal"))
        assert applied.before == Setting.parse("work_mode=sleep")
        assert applied.readback == Setting.parse("work_mode=normal")
        b.clock.advance(3600.0)
        reading = await b.device.read()
        assert (reading.work_mode, reading.is_hashing) == ("normal", True)
        assert reading.hashrate_5s_ths == pytest.approx(b.machine.state().hashrate_5s_ths, rel=1e-3)


async def test_an_ok_without_effect_is_acknowledged_but_not_shown(tmp_path: Path) -> None:
    faults = {"ack_without_effect": True}
    async with bench(tmp_path, "antminer-s19-pro", "antminer-legacy", faults=faults) as b:
        applied = await b.device.apply(allowed("antminer-s19-pro", "work_mode=low"))
        assert applied.acknowledged is True
        assert applied.readback == Setting.parse("work_mode=normal")
        assert b.machine.state().work_mode == "normal"


async def test_a_reply_that_comes_too_late_is_unknown_and_the_readback_tells(tmp_path: Path) -> None:
    # A clock that takes its time, unlike the one that tests move.
    clock = ScaledClock(NOON, time.time(), 1.0)
    spec = farm_spec([{"model": "antminer-s19-pro", "host": 10, "firmware": "antminer-legacy"}], tmp_path)
    async with run_farm(spec, clock) as farm:
        (machine,) = farm.machines.values()
        pools = copy.deepcopy(machine.pools)
        peer = await serve(machine, "127.0.0.1", PeerPorts(0, 0, 0, 0, 0, 0), PeerOptions(conf_reply_s=21.0))
        try:
            ports = Ports(peer.ports.api, peer.ports.web, peer.ports.status, 1)
            endpoint = Endpoint("127.0.0.1", ports, deadline_s=5.0, write_deadline_s=0.5)
            applied = await AntminerStock(endpoint, clock).apply(allowed("antminer-s19-pro", "work_mode=low"))
        finally:
            await peer.close()
        assert applied.acknowledged is None
        assert applied.readback == Setting.parse("work_mode=low")
        assert machine.pools == pools


async def test_a_machine_under_watch_agrees_for_an_hour(tmp_path: Path) -> None:
    async with bench(tmp_path, "antminer-s21", "antminer-new") as b:
        await b.device.read()
        for _ in range(50):
            b.clock.advance(60.0)
            reading, truth = await b.device.read(), b.machine.state()
            assert reading.hashrate_5s_ths == pytest.approx(truth.hashrate_5s_ths, rel=1e-3)
            assert reading.power_w == pytest.approx(truth.reported_power_w, rel=0.01)
            # Shares may be as old as the last look at the pools, never ahead of the machine.
            assert reading.shares_accepted is not None
            assert truth.accepted - reading.shares_accepted <= truth.accepted * 0.2


async def configuration(b: Bench) -> dict[str, Any]:
    async with b.device._web as web:
        return await web.document("get_miner_conf.cgi", 5.0)
