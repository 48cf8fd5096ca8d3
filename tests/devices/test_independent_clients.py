"""Two clients by other people read the simulated miners too: what they see is what our drivers see.

Where they differ, the reason stands beside the figure; docs/devices.md lists them.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.device import Endpoint
from agent.devices.families import open_device
from agent.reading import Reading
from simulator.machine import Machine, MachineState
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics

pyasic = pytest.importorskip("pyasic")
pyasic_rs = pytest.importorskip("pyasic_rs")
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Case:
    """One simulated miner. Both clients use fixed ports, so each case has an address of its own."""

    family: str
    model: str
    address: str
    options: PeerOptions

    def __str__(self) -> str:
        return f"{self.family}-{self.model}"


CASES = [
    Case("antminer-stock", "antminer-s19-pro", "127.86.1.1", PeerOptions()),
    Case("antminer-stock", "antminer-s21", "127.86.1.2", PeerOptions(layout="new")),
    Case("luxos", "antminer-s19-pro", "127.86.1.5", PeerOptions(firmware="luxos")),
    Case("vnish", "antminer-s19-pro", "127.86.1.6", PeerOptions(firmware="vnish")),
    Case("whatsminer-v2", "whatsminer-m30s-plus-plus", "127.86.1.3", PeerOptions()),
    Case("whatsminer-v3", "whatsminer-m60s", "127.86.1.4", PeerOptions(api_v3=True)),
]


@dataclass
class Seen:
    """The same miner at the same moment by three clients."""

    case: Case
    ours: Reading
    pyasic: Any
    rust: Any
    state: MachineState


@pytest.fixture(params=CASES, ids=str)
async def seen(request: pytest.FixtureRequest) -> AsyncIterator[Seen]:
    case: Case = request.param
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    physics = default_physics().model(case.model)
    machine = Machine(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7", ambient=21.5)
    try:
        peer = await serve(machine, case.address, PeerPorts(), case.options)
    except PermissionError:
        pytest.skip("the other clients use ports below 1024, which this user may not open")
    try:
        ours = await open_device(case.family, Endpoint(case.address), clock).read()
        theirs = await (await pyasic.get_miner(case.address)).get_data()
        rust = await (await pyasic_rs.MinerFactory().get_miner(case.address)).get_data()
        yield Seen(case, ours, theirs, rust, machine.state())
    finally:
        await peer.close()


def test_three_clients_agree(seen: Seen) -> None:
    ours, python, rust = seen.ours, seen.pyasic, seen.rust
    assert ours.mac == rust.mac.lower()
    # pyasic does not find the MAC of a LuxOS miner.
    assert python.mac is None if seen.case.family == "luxos" else python.mac.lower() == ours.mac
    # Both cut the build's hash off a LuxOS version.
    assert ours.firmware_version is not None
    assert ours.firmware_version.startswith(python.fw_ver)
    assert python.fw_ver == rust.firmware_version
    assert ours.is_hashing is python.is_mining is rust.is_mining is True
    assert ours.hashrate_expected_ths == pytest.approx(float(python.expected_hashrate), abs=0.01)
    if seen.case.family == "vnish":
        # It reports the rate of the stock firmware, we the one of the preset that runs.
        assert rust.expected_hashrate.value == pytest.approx(110.0)
    else:
        assert ours.hashrate_expected_ths == pytest.approx(rust.expected_hashrate.value, abs=0.01)
    check_hashrate(seen)
    check_power(seen)
    check_temperatures(seen)
    check_fans(seen)
    check_pools(seen)


def check_hashrate(seen: Seen) -> None:
    """Each client chooses another window: every figure must be one that the firmware tells."""
    ours = seen.ours
    state = seen.state
    windows = [ours.hashrate_ths, ours.hashrate_5s_ths, ours.hashrate_avg_ths]
    windows += [state.hashrate_5m_ths, state.hashrate_15m_ths, state.hashrate_30m_ths]
    boards = sum(board.hashrate_ths or 0.0 for board in ours.boards or ())
    rates = [float(seen.pyasic.hashrate), seen.rust.hashrate.value]
    for rate in rates:
        assert any(rate == pytest.approx(window, rel=1e-4) for window in [*windows, boards] if window), (
            rate,
            windows,
            boards,
        )


def check_power(seen: Seen) -> None:
    ours = seen.ours
    for theirs in (seen.pyasic.wattage, seen.rust.wattage):
        # Neither asks port 6060, where an S21 tells its watts.
        if theirs is None and seen.case.model == "antminer-s21":
            continue
        assert theirs == (None if ours.power_w is None else pytest.approx(ours.power_w, abs=1.0))
    if ours.power_limit_w is not None:
        assert seen.pyasic.wattage_limit == pytest.approx(ours.power_limit_w, abs=1.0)
        # pyasic_rs names a VNish preset instead of its watts.
        target = re.search(r"=\D?([\d.]+)", str(seen.rust.tuning_target))
        assert target is not None, str(seen.rust.tuning_target)
        assert float(target[1]) == pytest.approx(ours.power_limit_w, abs=1.0)


def check_temperatures(seen: Seen) -> None:
    """They report means over a board's sensors, we the hottest one: theirs lie below, and near."""
    hottest = seen.ours.chip_temp_c or seen.ours.board_temp_c
    assert hottest is not None
    for mean in (seen.pyasic.temperature_avg, seen.rust.average_temperature):
        assert hottest - 40.0 <= mean <= hottest


def check_fans(seen: Seen) -> None:
    rust = [round(fan.rpm) for fan in seen.rust.fans]
    assert [round(rpm) for rpm in seen.ours.fan_rpm or ()] == [f.speed for f in seen.pyasic.fans] == rust


def check_pools(seen: Seen) -> None:
    """They list blank entries and the firmware's fee too, and pyasic none at all on API v3."""
    ours = [(pool.url, pool.user) for pool in seen.ours.pools or ()]
    python = [
        (str(pool.url), pool.user) for pool in seen.pyasic.pools if pool.user not in ("", None, "DevFee")
    ]
    rust = [(str(pool.url), pool.user) for group in seen.rust.pools for pool in group.pools]
    # Blank entries, and the fee that VNish mines for itself.
    rust = [pool for pool in rust if pool[1] not in ("", None, "DevFee")]
    assert rust == ours
    if seen.case.family == "vnish":
        # pyasic cannot read an address without a scheme, which is how VNish shows it.
        ours = [("None", user) for _, user in ours]
    assert python in ([[], ours] if seen.case.family == "whatsminer-v3" else [ours])


async def test_pyasic_rs_agrees_on_braiins() -> None:
    """pyasic asks this firmware by gRPC alone, which a miner serves besides what our driver speaks."""
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    physics = default_physics().model("antminer-s19-pro")
    machine = Machine(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7", ambient=21.5)
    address = "127.86.1.7"
    try:
        peer = await serve(machine, address, PeerPorts(), PeerOptions(firmware="braiins"))
    except PermissionError:
        pytest.skip("the other clients use ports below 1024, which this user may not open")
    try:
        ours = await open_device("braiins", Endpoint(address), clock).read()
        rust = await (await pyasic_rs.MinerFactory().get_miner(address)).get_data()
    finally:
        await peer.close()
    assert rust.mac.lower() == ours.mac
    assert rust.is_mining is ours.is_hashing is True
    rates = (ours.hashrate_ths, ours.hashrate_5s_ths, ours.hashrate_avg_ths)
    assert any(rust.hashrate.value == pytest.approx(rate, rel=1e-4) for rate in rates)
    assert rust.wattage == pytest.approx(ours.power_w, abs=1.0)
    assert [round(fan.rpm) for fan in rust.fans] == [round(rpm) for rpm in ours.fan_rpm or ()]
    pools = [(str(pool.url), pool.user) for group in rust.pools for pool in group.pools]
    assert pools == [(pool.url, pool.user) for pool in ours.pools or ()]
