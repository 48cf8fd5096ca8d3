"""Two clients by other people read the simulated miners too: what they see is what our drivers see.

Where they differ is named with its reason in `client_differences`, and listed in docs/devices.md.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.device import Endpoint
from agent.devices.families import open_device
from agent.reading import Reading
from simulator.machine import Machine, MachineState
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.devices.client_differences import (
    BEGIN,
    DIFFERENCES,
    END,
    PYASIC,
    RUST,
    listed_pools,
    markdown,
    named,
    version,
)

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
    Case("braiins", "antminer-s19-pro", "127.86.1.7", PeerOptions(firmware="braiins")),
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

    @property
    def clients(self) -> tuple[tuple[str, Any], ...]:
        """Each client's name and what it read."""
        return (PYASIC, self.pyasic), (RUST, self.rust)

    def named(self, client: str, what: str) -> bool:
        """True if a difference of that client in that field is on the list."""
        return named(self.case.family, client, self.case.model, what)


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
    ours = seen.ours
    for client, theirs in seen.clients:
        if not seen.named(client, "mac"):
            assert theirs.mac.lower() == ours.mac
        if not seen.named(client, "firmware_version"):
            assert version(theirs) == ours.firmware_version
        assert theirs.is_mining is ours.is_hashing is True
        if not seen.named(client, "hashrate_expected_ths"):
            expected = float(getattr(theirs.expected_hashrate, "value", theirs.expected_hashrate))
            assert expected == pytest.approx(ours.hashrate_expected_ths, abs=0.01)
        if not seen.named(client, "uptime_s"):
            uptime_s = getattr(theirs.uptime, "total_seconds", lambda: theirs.uptime)()  # noqa: B023
            assert uptime_s == pytest.approx(ours.uptime_s, abs=1.0)
    check_hashrate(seen)
    check_power(seen)
    check_temperatures(seen)
    check_fans(seen)
    check_pools(seen)
    check_named_differences(seen)


def check_named_differences(seen: Seen) -> None:
    """A difference that has gone, in a newer client or by our doing, is to be taken from the list."""
    for client, theirs in seen.clients:
        for row in DIFFERENCES:
            if row.concerns(seen.case.family, client, seen.case.model):
                assert row.shows(seen.ours, theirs), f"{client} no longer differs: {row}"


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
    for client, theirs in seen.clients:
        if not seen.named(client, "power_w"):
            assert theirs.wattage == (None if ours.power_w is None else pytest.approx(ours.power_w, abs=1.0))
    if ours.power_limit_w is not None:
        assert seen.pyasic.wattage_limit == pytest.approx(ours.power_limit_w, abs=1.0)
        # The name of a VNish preset is its watts.
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
    ours = [(pool.url, pool.user) for pool in seen.ours.pools or ()]
    for client, theirs in seen.clients:
        listed = listed_pools(theirs)
        if seen.named(client, "pools"):
            listed = [pool for pool in listed if pool[1] not in ("", None, "DevFee")]
        if seen.named(client, "pools: url"):
            assert [user for _, user in listed] == [user for _, user in ours]
        elif (seen.case.family, client) == ("whatsminer-v3", PYASIC):
            assert listed == []
        else:
            assert listed == ours


def test_the_page_lists_every_named_difference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    assert f"{BEGIN}{markdown()}{END}" in page, "put the output of client_differences.markdown() there"


def test_every_named_difference_concerns_a_case() -> None:
    for row in DIFFERENCES:
        assert any(
            row.concerns(case.family, client, case.model) for case in CASES for client in (PYASIC, RUST)
        ), row
