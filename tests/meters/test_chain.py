"""Simulated machines behind simulated meters: learn how far off they are, then do without the meter."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.meters.fusion import Floats, MeterMap, Sources, fuse
from agent.meters.offset import Offsets
from agent.meters.reader import MeterReader
from agent.meters.trust import MeterTrust
from simulator.machine import Machine
from simulator.meters.modbus import EASTRON_SDM630, ModbusPeer
from simulator.meters.snmp import APC_RPDU2, SnmpPeer
from simulator.meters.surface import Circuit, MeterFaults, MeterSurface, wall_power
from simulator.physics_file import default_physics
from tests.chain.farms import NOON
from tests.meters.site import config, running, secret

HOST = "127.62.7.1"
MODEL = "whatsminer-m50"
IDS = ["m0", "m1", "m2"]


class Farm:
    """Three machines: the first on an outlet, the others on a circuit with a fan of 300 W."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOON)
        spec = default_physics().models[MODEL]
        self.machines = [
            Machine(spec, seed=i, clock=self.clock, mac=f"02:00:00:00:07:0{i}", serial=f"S{i}")
            for i in range(3)
        ]
        loads = [wall_power(machine) for machine in self.machines]
        self.outlet = MeterSurface([Circuit((loads[0],))], self.clock)
        self.circuit = MeterSurface([Circuit((loads[1], loads[2]), overhead_w=300.0)], self.clock)
        self.pdu = SnmpPeer(self.outlet, HOST, community="readers", layout=APC_RPDU2)
        self.board = ModbusPeer(self.circuit, HOST, layout=EASTRON_SDM630)
        self._secret = secret(folder, "readers")

    def begin(self) -> None:
        outlets: list[dict[str, Any]] = [{"oid": self.pdu.layout.oid(0), "miners": ["m0"]}]
        points: list[dict[str, Any]] = [{"register": 52, "miners": ["m1", "m2"], "overhead_w": 300.0}]
        self.reader = MeterReader(
            [
                config(
                    name="pdu", kind="snmp", host=HOST, port=self.pdu.port, outlets=outlets,
                    community_file=str(self._secret), deadline_s=0.3,
                ),
                config(
                    name="board", kind="modbus", host=HOST, port=self.board.port, points=points,
                    deadline_s=0.3,
                ),
            ],
            self.clock,
        )  # fmt: skip
        self.chart = MeterMap.of(self.reader.points, {name: i for i, name in enumerate(IDS)}, 3)
        self.trust = MeterTrust(self.reader.points)
        self.offsets = Offsets(IDS)

    async def round(self) -> tuple[Floats, Sources]:
        self.clock.advance(30.0)
        own = np.array([machine.state().reported_power_w for machine in self.machines], dtype=np.float64)
        verdict = self.trust.look(await self.reader.read(), self.chart, own, max_age_s=45.0)
        source = np.full(3, "measured", dtype=object)
        read = np.ones(3, dtype=np.bool_)
        fused = fuse(own, source, read, verdict.net_w, self.chart, self.offsets.ratio, np.full(3, np.nan))
        self.offsets.learn(own, fused)
        return fused.power_w, fused.source

    @property
    def true_w(self) -> Floats:
        return np.array([machine.state().power_w for machine in self.machines])


async def test_meters_are_the_truth_and_what_they_teach_outlives_them(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    async with running(farm.pdu, farm.board):
        farm.begin()
        for _ in range(20):
            power, source = await farm.round()
        assert source.tolist() == ["metered", "metered-circuit", "metered-circuit"]
        assert power[0] == pytest.approx(farm.true_w[0], abs=0.5)
        assert power[1:].sum() == pytest.approx(farm.true_w[1:].sum(), rel=1e-6)
        assert farm.clock.now() == NOON + timedelta(seconds=600)

        farm.outlet.faults = farm.circuit.faults = MeterFaults(silent=True)
        for _ in range(3):
            power, source = await farm.round()
        assert source.tolist() == ["reported-corrected"] * 3
        # Without the meters the machines' own figures are some percent off; corrected, they are not.
        reported = np.array([machine.state().reported_power_w for machine in farm.machines], dtype=np.float64)
        assert abs(reported.sum() / farm.true_w.sum() - 1.0) > 0.02
        assert power.sum() == pytest.approx(farm.true_w.sum(), rel=0.01)
        assert power[0] == pytest.approx(farm.true_w[0], rel=0.01)


async def test_a_meter_with_a_gain_of_three_is_found_out(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    farm.outlet.faults = MeterFaults(gain=3.0)
    async with running(farm.pdu, farm.board):
        farm.begin()
        _, source = await farm.round()
    assert source.tolist() == ["measured", "metered-circuit", "metered-circuit"]


async def test_noise_is_averaged_away(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    farm.outlet.faults = MeterFaults(noise=0.005)
    async with running(farm.pdu, farm.board):
        farm.begin()
        for _ in range(40):
            await farm.round()
        state = farm.machines[0].state()
    assert state.reported_power_w is not None
    assert farm.offsets.ratio[0] == pytest.approx(state.power_w / state.reported_power_w, rel=0.006)
