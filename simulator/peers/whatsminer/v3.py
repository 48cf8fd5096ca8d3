"""Whatsminer API v3 on TCP 4433: length-prefixed JSON frames, open reads, writes with a token each.

Layouts are in `whatsminer_v3_layouts`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import math
import struct
from collections.abc import Callable
from typing import Any

from simulator.machine import MachineState, PoolEntry
from simulator.peers.faults import send
from simulator.peers.listener import Hangup, compact
from simulator.peers.surface import Surface
from simulator.peers.whatsminer import v3_layouts as layouts
from simulator.peers.whatsminer.layouts import Json
from simulator.peers.whatsminer.tokens import decrypt, salt_of
from simulator.peers.whatsminer.unit import WhatsminerUnit
from simulator.peers.whatsminer.v2 import PROCESS_DOWN

MAX_FRAME_BYTES = 64 * 1024
IDLE_S = 30.0
FACTORY_ACCOUNT = "super"
FACTORY_PASSWORD = "super"  # noqa: S105 - the published factory default that the simulated miner has
OK, FAIL, INVALID, PARAM_NULL, NO_PERMISSION = 0, -1, -2, -3, -4
# How far a write's timestamp may be from the miner's clock, of which one second on the wall is spared.
CLOCK_TOLERANCE_S = 120.0
MAX_TS = 2**40
_LENGTH = struct.Struct("<I")
_ENCRYPTED = ("set.miner.pools",)


class Refusal(Exception):
    """A command is not done; carries the code and message to answer."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code} {message}")


def frame(payload: bytes) -> bytes:
    """One frame: u32 little-endian length, then the JSON."""
    return _LENGTH.pack(len(payload)) + payload


def write_digest(command: str, password: str, salt: str, ts: int) -> bytes:
    """SHA-256 that the token is cut from and that is the AES key of an encrypted param."""
    return hashlib.sha256(f"{command}{password}{salt}{ts}".encode()).digest()


class WhatsminerV3:
    """Answers connections to port 4433.

    Args:
        surface: the machine behind it.
        unit: what this unit keeps besides the machine, shared with API v2.
        address: IP address, shown by `get.device.info`.
    """

    def __init__(self, surface: Surface, unit: WhatsminerUnit, address: str) -> None:
        self.surface = surface
        self.unit = unit
        self._address = address
        options = surface.options
        self._account = FACTORY_ACCOUNT if options.username is None else options.username
        self._password = FACTORY_PASSWORD if options.password is None else options.password
        self.salt = salt_of(f"v3:{surface.machine.mac}")

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve frames until the client leaves or is silent for too long.

        Raises:
            Hangup: the control board is down, or a frame is larger than the limit.
        """
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    if not 0 < length <= MAX_FRAME_BYTES:
                        raise Hangup
                    raw = await reader.readexactly(length)
            except TimeoutError:
                return
            state = self.surface.state()
            if not state.ports_open:
                raise Hangup
            faults = self.surface.faults
            reply = self.answer(raw, state)
            if faults.cut_mid_json:
                # The length promises the whole reply; the connection ends in its middle.
                await send(writer, faults.spoil_json(frame(reply)), faults)
                return
            await send(writer, frame(faults.spoil_json(reply)), faults)

    def answer(self, raw: bytes, state: MachineState) -> bytes:
        """The JSON reply to one request, without its frame."""
        try:
            request = json.loads(raw)
        except (ValueError, RecursionError):
            return compact(layouts.envelope(state, INVALID, "invalid json", ""))
        command = request.get("cmd") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return compact(layouts.envelope(state, INVALID, "invalid command", ""))
        try:
            if command in WRITES:
                self._write(command, request, state)
                return compact(layouts.envelope(state, OK, "ok", command))
            return compact(layouts.envelope(state, OK, self._read(command, request, state), command))
        except Refusal as refusal:
            return compact(layouts.envelope(state, refusal.code, refusal.message, command))

    # -- reads -----------------------------------------------------------------------------------

    def _read(self, command: str, request: Json, state: MachineState) -> Json:
        if command == "get.device.info":
            return self._device_info(request.get("param"), state)
        if command == "get.miner.status":
            return self._status(request.get("param"), state)
        if command == "get.miner.setting":
            return layouts.setting(state, self.unit)
        if command == "get.fan.setting":
            return layouts.fan_setting(self.unit)
        if command == "get.system.setting":
            return layouts.system_setting(self.unit)
        raise Refusal(INVALID, "invalid command")

    def _device_info(self, param: object, state: MachineState) -> Json:
        info = layouts.device_info(
            state,
            self.unit,
            address=self._address,
            salt=self.salt,
            write_open=self.surface.write_open,
            unknown_power=self.surface.faults.unknown_power,
        )
        if param is None or param == "":
            return info
        names = param.split("+") if isinstance(param, str) else []
        if not names or any(name not in info for name in names):
            raise Refusal(INVALID, "invalid param")
        return {name: info[name] for name in names}

    def _status(self, param: object, state: MachineState) -> Json:
        if param is None or param == "":
            raise Refusal(PARAM_NULL, "param is null")
        sections: dict[str, Callable[[], Any]] = {
            "summary": lambda: layouts.summary(state, unknown_power=self.surface.faults.unknown_power),
            "edevs": lambda: layouts.devices(state),
            "pools": lambda: layouts.pools(state, self.surface.machine.pools),
        }
        names = param.split("+") if isinstance(param, str) else []
        if not names or any(name not in sections for name in names):
            raise Refusal(INVALID, "invalid param")
        if not state.process_up or self.surface.faults.process_down:
            raise Refusal(FAIL, PROCESS_DOWN)
        return {name: sections[name]() for name in names}

    # -- writes ----------------------------------------------------------------------------------

    def _write(self, command: str, request: Json, state: MachineState) -> None:
        if not self.surface.write_open:
            raise Refusal(NO_PERMISSION, "no permission")
        key = self._authenticate(command, request, state)
        param = request.get("param")
        if command in _ENCRYPTED:
            param = _opened(param, key)
        WRITES[command](self, param)

    def _authenticate(self, command: str, request: Json, state: MachineState) -> bytes:
        ts, token = request.get("ts"), request.get("token")
        if not isinstance(ts, int) or not 0 < ts < MAX_TS or not isinstance(token, str):
            raise Refusal(NO_PERMISSION, "no permission")
        tolerance_s = CLOCK_TOLERANCE_S + self.surface.machine.clock.factor
        if request.get("account") != self._account or abs(ts - state.now.timestamp()) > tolerance_s:
            raise Refusal(NO_PERMISSION, "no permission")
        key = write_digest(command, self._password, self.salt, ts)
        expected = base64.b64encode(key)[:8]
        if not hmac.compare_digest(expected, token.encode(errors="replace")):
            raise Refusal(NO_PERMISSION, "no permission")
        return key


def _opened(param: object, key: bytes) -> Any:
    if not isinstance(param, str):
        raise Refusal(INVALID, "invalid param")
    try:
        sealed = base64.b64decode(param, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(INVALID, "invalid param") from error
    if not sealed or len(sealed) % 16:
        raise Refusal(INVALID, "invalid param")
    try:
        return json.loads(decrypt(key, sealed))
    except (ValueError, RecursionError) as error:
        raise Refusal(INVALID, "invalid param") from error


def _number(param: object, low: float, high: float) -> float:
    if isinstance(param, bool) or not isinstance(param, str | int | float):
        raise Refusal(INVALID, "invalid param")
    try:
        number = float(param)
    except (ValueError, OverflowError) as error:
        raise Refusal(INVALID, "invalid param") from error
    if not math.isfinite(number) or not low <= number <= high:
        raise Refusal(INVALID, "invalid param")
    return number


def _choice(param: object, choices: tuple[str, ...]) -> str:
    if not isinstance(param, str) or param not in choices:
        raise Refusal(INVALID, "invalid param")
    return param


def _text(param: object) -> str:
    if not isinstance(param, str) or len(param) > 255:
        raise Refusal(INVALID, "invalid param")
    return param


def _power_limit(api: WhatsminerV3, param: object) -> None:
    limit = _number(param, 0, 99999)
    api.surface.perform(lambda: api.surface.machine.set_power_limit(limit))


def _power(api: WhatsminerV3, param: object) -> None:
    wanted = _number(param, 0, 99999)
    api.surface.perform(lambda: api.unit.set_power(wanted))


def _power_mode(api: WhatsminerV3, param: object) -> None:
    mode = _choice(param, ("low", "normal", "high"))
    api.surface.perform(lambda: api.surface.machine.set_power_mode(mode))


def _power_percent(api: WhatsminerV3, param: object) -> None:
    if isinstance(param, str):
        # One client sends the object as a JSON text.
        try:
            param = json.loads(param)
        except (ValueError, RecursionError) as error:
            raise Refusal(INVALID, "invalid param") from error
    if not isinstance(param, dict):
        raise Refusal(INVALID, "invalid param")
    percent = _number(param.get("percent"), 0, api.unit.highest_percent)
    fast = _choice(param.get("mode", "normal"), ("fast", "normal")) == "fast"
    api.surface.perform(lambda: api.surface.machine.set_power_percent(percent, fast=fast))


def _target_freq(api: WhatsminerV3, param: object) -> None:
    percent = _number(param, -100, 100)
    api.surface.perform(lambda: api.surface.machine.set_target_freq(percent))


def _service(api: WhatsminerV3, param: object) -> None:
    machine = api.surface.machine
    actions = {"start": machine.power_on, "stop": machine.power_off, "restart": machine.restart_mining}
    api.surface.perform(actions[_choice(param, tuple(actions))])


def _restore(api: WhatsminerV3, _: object) -> None:
    machine = api.surface.machine
    api.surface.perform(machine.restore_power_percent)
    api.surface.perform(lambda: machine.set_power_mode("normal"))
    api.surface.perform(lambda: machine.set_power_limit(99999))


def _pools(api: WhatsminerV3, param: object) -> None:
    if not isinstance(param, list) or not 1 <= len(param) <= 3:
        raise Refusal(INVALID, "invalid param")
    pools = []
    for entry in param:
        if not isinstance(entry, dict):
            raise Refusal(INVALID, "invalid param")
        url, user, password = (_text(entry.get(key, "")) for key in ("pool", "worker", "passwd"))
        pools.append(PoolEntry(url=url, user=user, password=password))
    pools += [PoolEntry(url="", user="", password="") for _ in range(3 - len(pools))]
    api.surface.perform(lambda: api.surface.machine.set_pools(pools))


def _reboot(api: WhatsminerV3, _: object) -> None:
    api.surface.perform(api.surface.machine.reboot)


def _led(api: WhatsminerV3, param: object) -> None:
    if param != "auto" and not isinstance(param, list | dict):
        raise Refusal(INVALID, "invalid param")
    api.unit.led = "auto" if param == "auto" else "manual"


def _fast_boot(api: WhatsminerV3, param: object) -> None:
    api.unit.fast_boot = _choice(param, ("enable", "disable"))


def _fast_hash(api: WhatsminerV3, param: object) -> None:
    api.unit.fast_hash = _choice(param, ("enable", "disable"))


def _heat_mode(api: WhatsminerV3, param: object) -> None:
    api.unit.heat_mode = _choice(param, ("heating", "normal", "anti-icing"))


def _upfreq_speed(api: WhatsminerV3, param: object) -> None:
    api.unit.upfreq_speed = int(_number(param, 0, 10))


def _poweroff_cool(api: WhatsminerV3, param: object) -> None:
    api.unit.poweroff_cool = str(int(_number(param, 0, 1)))


def _zero_speed(api: WhatsminerV3, param: object) -> None:
    api.unit.zero_speed = str(int(_number(param, 0, 1)))


def _temp_offset(api: WhatsminerV3, param: object) -> None:
    api.unit.temp_offset = str(int(_number(param, -30, 0)))


WRITES: dict[str, Callable[[WhatsminerV3, object], None]] = {
    "set.miner.power_limit": _power_limit,
    "set.miner.power": _power,
    "set.miner.power_mode": _power_mode,
    "set.miner.power_percent": _power_percent,
    "set.miner.target_freq": _target_freq,
    "set.miner.service": _service,
    "set.miner.restore_setting": _restore,
    "set.miner.pools": _pools,
    "set.miner.fastboot": _fast_boot,
    "set.miner.fast_hash": _fast_hash,
    "set.miner.heat_mode": _heat_mode,
    "set.miner.upfreq_speed": _upfreq_speed,
    "set.fan.poweroff_cool": _poweroff_cool,
    "set.fan.zero_speed": _zero_speed,
    "set.fan.temp_offset": _temp_offset,
    "set.system.reboot": _reboot,
    "set.system.led": _led,
}
