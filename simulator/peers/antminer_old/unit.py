"""One old Antminer behind its surfaces: its files, and the mining process that reads them at its start."""

from __future__ import annotations

from simulator.machine import MachineState
from simulator.peers.antminer_old.conf import (
    Start,
    Tuning,
    generation,
    layout_of,
    read_start,
    render,
    rewritten,
)
from simulator.peers.antminer_old.files import FileError, Files
from simulator.peers.surface import Surface

KERNELS = {
    "bmminer": "3.14.0-xilinx-ge8a2f71-dirty #82 SMP PREEMPT Tue May 16 19:49:53 CST 2017",
    "cgminer": "4.6.0-xilinx-gff8137b-dirty #25 SMP PREEMPT Fri Nov 23 15:30:52 CST 2018",
}
_SCRIPT = """#!/bin/sh

PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin
DAEMON=/usr/bin/{name}
NAME={name}
"""


class OldUnit:
    """Files and mining process of one unit.

    Args:
        surface: the machine it runs on.
        address: of the unit, for the pages that show it.
    """

    def __init__(self, surface: Surface, address: str) -> None:
        self.surface = surface
        self.address = address
        machine = surface.machine
        state = machine.state()
        self.generation = generation(state.type_text) or "S9"
        self.layout = layout_of(state.type_text)
        self.is_s9 = self.generation in ("S9", "T9")
        self.down = False
        self.api_listens = True
        spec = machine.spec
        self._factory = Tuning(
            freq=str(round(spec.rated_frequency_mhz)),
            voltage=str(round(spec.rated_voltage_v * 100)),
            work_mode="0",
        )
        freq = round(spec.rated_frequency_mhz * (1.0 + state.target_freq_percent / 100.0))
        tuning = Tuning(
            fan_customize_switch="true" if state.fan_manual else "",
            fan_customize_value=str(state.fan_pwm),
            freq=str(freq),
            voltage=self._factory.voltage,
            work_mode="254" if state.work_mode == "sleep" else "0",
        )
        name = self.layout.daemon
        image = {
            "/usr/bin/compile_time": f"{state.firmware_version}\n{state.type_text}\n1.0.0\n",
            "/config/network.conf": "hostname=antMiner\ndhcp=true\n",
            self.layout.script: _SCRIPT.format(name=name),
        }
        for path, text in render(self.layout, (), self._factory).items():
            image[path.replace("/config/", "/etc/") + ".factory"] = text
        image |= render(self.layout, machine.pools, tuning)
        self.files = Files({path: text.encode() for path, text in image.items()})
        machine.on_boot = self._booted

    @property
    def kernel(self) -> str:
        """Release and version of the Linux kernel."""
        return KERNELS["bmminer" if self.is_s9 else "cgminer"]

    def serves_api(self, state: MachineState) -> bool:
        """True while the mining process listens on 4028."""
        return state.process_up and not self.down and self.api_listens

    def rewrite(self, form: bytes) -> None:
        """Take the web form: write the whole configuration anew and restart the mining process."""

        def act() -> None:
            for path, text in rewritten(self.layout, form, self._factory).items():
                self._store(path, text.encode("latin-1"))
            self._start()

        self.surface.perform(act)

    def reset(self) -> None:
        """Put back the configuration of the image, which has no pools, and restart the mining process."""

        def act() -> None:
            for path, text in render(self.layout, (), self._factory).items():
                self._store(path, text.encode())
            self._start()

        self.surface.perform(act)

    def restart(self) -> None:
        """Stop the mining process and start it with what its files say now."""
        self.surface.perform(self._start)

    def stop(self) -> None:
        """End the mining process; nothing brings it back but a start or a reboot."""
        self.surface.perform(self._stop)

    def reboot(self) -> None:
        """Restart the control board."""
        self.surface.perform(self.surface.machine.reboot)

    def conf_text(self) -> bytes:
        """What `get_miner_conf.cgi` prints: the file, or both as one object."""
        texts = []
        for path in self.layout.files:
            try:
                texts.append(self.files.read(path))
            except FileError:
                texts.append(b"")
        if len(texts) == 1:
            return texts[0]
        first, second = (text.strip() for text in texts)
        return first.removesuffix(b"}").rstrip() + b",\n" + second.removeprefix(b"{").lstrip() + b"\n"

    def _store(self, path: str, data: bytes) -> None:
        try:
            self.files.write(path, data)
        except FileError:
            # `echo` on a full flash prints to nobody, and the script goes on.
            return

    def _booted(self) -> None:
        self.files.boot()
        self._start()

    def _start(self) -> None:
        machine = self.surface.machine
        start = self._wanted()
        if start is None:
            self._stop()
            return
        self.down = False
        self.api_listens = start.api_listens
        machine.set_pools(start.pools)
        machine.start_mining(
            work_mode=start.work_mode,
            frequency_percent=100.0 * start.frequency_share,
            voltage_percent=100.0 * start.voltage_share,
            fan_manual=start.fan_manual,
            fan_pwm=start.fan_pwm,
        )

    def _stop(self) -> None:
        self.down = True
        self.surface.machine.power_off()

    def _wanted(self) -> Start | None:
        spec = self.surface.machine.spec
        try:
            texts = [self.files.read(path) for path in self.layout.files]
        except FileError:
            return None
        return read_start(self.layout, texts, spec.rated_frequency_mhz, spec.rated_voltage_v)
