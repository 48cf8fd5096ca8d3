"""Whatsminer API v2 on TCP 4028: plain reads, a token handshake and encrypted writes.

One command per connection, closed after ten idle seconds. Layouts are in `whatsminer_layouts`.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

from simulator.machine import MachineState, PoolEntry
from simulator.peers.faults import hang, send
from simulator.peers.listener import Hangup, compact, read_json_request
from simulator.peers.surface import Surface
from simulator.peers.whatsminer import layouts as layouts
from simulator.peers.whatsminer.tokens import BadEnvelope, TokenTable
from simulator.peers.whatsminer.unit import WhatsminerUnit

REQUEST_LIMIT_BYTES = 16 * 1024
IDLE_S = 10.0
FACTORY_PASSWORD = "admin"  # noqa: S105 - the published factory default that the simulated miner has
PROCESS_DOWN = "btminer process is down"
# The mining process answers these; the rest come from the control board.
_JOINABLE = ("summary", "edevs", "devs", "pools", "devdetails")
# Firmware before this date speaks API 1.4, with fewer commands.
_API_2_DATE = 20220729
_NEWER_READS = ("get_error_code", "get_miner_info")

Write = Callable[["WhatsminerV2", dict[str, Any]], bool]


class SilentWrite(Exception):
    """The write was done and no answer is given."""


class WhatsminerV2:
    """Answers connections to port 4028.

    Args:
        surface: the machine behind it.
        unit: what this unit keeps besides the machine (LED, speeds), shared with API v3.
        address: IP address, shown by `get_miner_info`.
    """

    def __init__(self, surface: Surface, unit: WhatsminerUnit, address: str) -> None:
        self._surface = surface
        self.unit = unit
        self._address = address
        state = surface.machine.state()
        password = surface.options.password
        self._tokens = TokenTable(FACTORY_PASSWORD if password is None else password, state.mac)
        date = state.firmware_version[:8]
        self._is_old = date.isdigit() and int(date) < _API_2_DATE
        self._reads: dict[str, Callable[[MachineState, dict[str, Any]], layouts.Json]] = {
            "get_psu": self._get_psu,
            "get_version": self._get_version,
            "status": self._status,
            "get_miner_info": self._get_miner_info,
            "get_error_code": self._get_error_code,
            "get_token": self._get_token,
        }
        if self._is_old:
            for name in _NEWER_READS:
                del self._reads[name]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the control board is down.
        """
        raw = await read_json_request(reader, REQUEST_LIMIT_BYTES, IDLE_S)
        if not raw:
            return
        state = self._surface.state()
        if not state.ports_open:
            raise Hangup
        try:
            reply = self.answer(raw, state)
        except SilentWrite:
            await hang(reader)
            return
        faults = self._surface.faults
        await send(writer, faults.spoil_json(reply), faults)

    def answer(self, raw: bytes, state: MachineState) -> bytes:
        """The reply to one request, byte for byte.

        Raises:
            SilentWrite: it was a write that this firmware does not answer.
        """
        try:
            request = json.loads(raw.strip(b"\x00\r\n\t "))
        except (ValueError, RecursionError):
            return compact(layouts.reply(state, 23, "json cmd err", "E"))
        if not isinstance(request, dict):
            return compact(layouts.reply(state, 23, "json cmd err", "E"))
        if request.get("enc") == 1:
            return self._encrypted(request.get("data"), state)
        command = request.get("cmd", request.get("command"))
        if not isinstance(command, str):
            return compact(layouts.reply(state, 14, "invalid cmd", "E"))
        if command in WRITES:
            # Writes are taken in the encrypted envelope only.
            return compact(layouts.reply(state, 45, "permission denied", "E"))
        if command == "get_error_code" and self._surface.faults.broken_error_list and not self._is_old:
            return _broken_error_list(state)
        reply = compact(self._read(command, state, request))
        if command == "get_psu" and self._surface.faults.broken_psu:
            reply = reply.replace(b',"temp0"', b'"temp0"')
        return reply

    def _read(self, command: str, state: MachineState, request: dict[str, Any]) -> layouts.Json:
        if command in self._reads:
            return self._reads[command](state, request)
        names = command.split("+")
        if len(names) > 8 or any(name not in _JOINABLE for name in names):
            return layouts.reply(state, 14, "invalid cmd", "E")
        if not state.process_up or self._surface.faults.process_down:
            return layouts.reply(state, 132, PROCESS_DOWN, "E")
        if len(names) == 1:
            return self._rows(command, state)
        joined: layouts.Json = {name: [self._rows(name, state)] for name in names}
        return joined | {"id": 1}

    def _rows(self, command: str, state: MachineState) -> layouts.Json:
        reduced = self._surface.options.api_v3
        if command == "summary":
            row = layouts.summary_row(
                state,
                reduced=reduced,
                unknown_power=self._surface.faults.unknown_power,
                limit_w=state.power_limit_w,
            )
            return layouts.rows_reply("Summary", "SUMMARY", [row])
        if command in ("edevs", "devs"):
            rows = layouts.device_rows(state, reduced=reduced)
            return layouts.rows_reply(f"{len(rows)} ASC(s)", "DEVS", rows)
        if command == "pools":
            rows = layouts.pool_rows(state, self._surface.machine.pools)
            return layouts.rows_reply(f"{len(rows)} Pool(s)", "POOLS", rows)
        return layouts.rows_reply("Device Details", "DEVDETAILS", layouts.detail_rows(state))

    # -- control board reads ---------------------------------------------------------------------

    def _get_psu(self, state: MachineState, _: dict[str, Any]) -> layouts.Json:
        message = layouts.psu_message(state, unknown_power=self._surface.faults.unknown_power)
        return layouts.reply(state, 131, message)

    def _get_version(self, state: MachineState, _: dict[str, Any]) -> layouts.Json:
        if self._is_old:
            return layouts.reply(state, 131, f"'{state.firmware_version}'")
        message = {
            "api_ver": layouts.API_VERSION,
            "fw_ver": state.firmware_version,
            "platform": "H616",
            "chip": "K88Z347-2039 BINV01-195001D",
            "miner_type": state.type_text,
        }
        return layouts.reply(state, 131, message)

    def _status(self, state: MachineState, _: dict[str, Any]) -> layouts.Json:
        message = layouts.status_message(state, limit_set=self.unit.limit_set_text(state), old=self._is_old)
        return layouts.reply(state, 131, message)

    def _get_miner_info(self, state: MachineState, request: dict[str, Any]) -> layouts.Json:
        info = {
            "ip": self._address,
            "proto": "dhcp",
            "netmask": "255.0.0.0",
            "gateway": "",
            "dns": "",
            "hostname": "WhatsMiner",
            "mac": state.mac.upper(),
            "ledstat": self.unit.led,
            "minersn": state.serial,
            "powersn": "A1232B0120100049",
        }
        wanted = request.get("info")
        if isinstance(wanted, str) and wanted:
            names = wanted.split(",")
            info = {name: value for name, value in info.items() if name in names}
        return layouts.reply(state, 131, info)

    def _get_error_code(self, state: MachineState, _: dict[str, Any]) -> layouts.Json:
        since = layouts.process_start(state).strftime("%Y-%m-%d %H:%M:%S")
        return layouts.reply(state, 131, {"error_code": [{code: since} for code in state.errors]})

    def _get_token(self, state: MachineState, _: dict[str, Any]) -> layouts.Json:
        grant = None if self._surface.faults.token_limit else self._tokens.grant(state.now)
        if grant is None:
            return layouts.reply(state, 136, "over max connect", "E")
        return layouts.reply(state, 134, {"time": grant.time, "salt": grant.salt, "newsalt": grant.newsalt})

    # -- writes ----------------------------------------------------------------------------------

    def _encrypted(self, data: object, state: MachineState) -> bytes:
        if not self._surface.write_open:
            return compact(layouts.reply(state, 45, "can't access write cmd", "E"))
        try:
            request = self._tokens.open(data)
        except BadEnvelope as error:
            return compact(layouts.reply(state, error.code, error.message, "E"))
        command = request.get("cmd", request.get("command"))
        if self._surface.faults.token_expired or not self._tokens.accepts(request.get("token"), state.now):
            return compact(layouts.reply(state, 135, "check token err", "E"))
        write = WRITES.get(command) if isinstance(command, str) else None
        if write is None:
            return self._sealed(layouts.reply(state, 14, "invalid cmd", "E"))
        if not write(self, request):
            return self._sealed(layouts.reply(state, 132, f"{command} command error", "E"))
        return self._sealed(layouts.reply(state, 131, "API command OK"))

    def _sealed(self, reply: layouts.Json) -> bytes:
        return compact(self._tokens.seal(compact(reply)))

    def perform(self, action: Callable[[], object]) -> bool:
        """Do a write through the faults; True, for it was understood."""
        self._surface.perform(action)
        return True

    @property
    def surface(self) -> Surface:
        """The machine behind this API."""
        return self._surface


def _broken_error_list(state: MachineState) -> bytes:
    since = layouts.process_start(state).strftime("%Y-%m-%d %H:%M:%S")
    codes = ",".join(f'"{code}":"{since}"' for code in state.errors)
    envelope = compact(layouts.reply(state, 131, {"error_code": []}))
    return envelope.replace(b'"error_code":[]', b'"error_code":[' + codes.encode() + b"]")


def _number(request: dict[str, Any], key: str, low: float, high: float) -> float | None:
    value = request.get(key)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and low <= number <= high else None


def _adjust_power_limit(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    limit = _number(request, "power_limit", 0, 99999)
    return limit is not None and api.perform(lambda: api.surface.machine.set_power_limit(limit))


def _set_power(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    wanted = _number(request, "power", 0, 99999)
    return wanted is not None and api.perform(lambda: api.unit.set_power(wanted))


def _set_power_percent(fast: bool) -> Write:
    def write(api: WhatsminerV2, request: dict[str, Any]) -> bool:
        percent = _number(request, "percent", 0, api.unit.highest_percent)
        return percent is not None and api.perform(
            lambda: api.surface.machine.set_power_percent(percent, fast=fast)
        )

    return write


def _restore_power_percent(api: WhatsminerV2, _: dict[str, Any]) -> bool:
    return api.perform(api.surface.machine.restore_power_percent)


def _set_mode(mode: str) -> Write:
    def write(api: WhatsminerV2, _: dict[str, Any]) -> bool:
        api.perform(lambda: api.surface.machine.set_power_mode(mode))
        raise SilentWrite

    return write


def _set_target_freq(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    percent = _number(request, "percent", -100, 100)
    return percent is not None and api.perform(lambda: api.surface.machine.set_target_freq(percent))


def _power_off(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    api.perform(api.surface.machine.power_off)
    if request.get("respbefore") != "true":
        raise SilentWrite
    return True


def _power_on(api: WhatsminerV2, _: dict[str, Any]) -> bool:
    return api.perform(api.surface.machine.power_on)


def _restart_btminer(api: WhatsminerV2, _: dict[str, Any]) -> bool:
    return api.perform(api.surface.machine.restart_mining)


def _reboot(api: WhatsminerV2, _: dict[str, Any]) -> bool:
    return api.perform(api.surface.machine.reboot)


def _update_pools(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    pools = []
    for number in (1, 2, 3):
        texts = [request.get(f"{name}{number}", "") for name in ("pool", "worker", "passwd")]
        if not all(isinstance(text, str) and len(text) <= 255 for text in texts):
            return False
        pools.append(PoolEntry(url=texts[0], user=texts[1], password=texts[2]))
    if not pools[0].url:
        return False
    return api.perform(lambda: api.surface.machine.set_pools(pools))


def _set_led(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    automatic = request.get("param") == "auto"
    if not automatic and request.get("color") not in ("red", "green"):
        return False
    api.unit.led = "auto" if automatic else "manual"
    return True


def _adjust_upfreq_speed(api: WhatsminerV2, request: dict[str, Any]) -> bool:
    speed = _number(request, "upfreq_speed", 0, 10)
    if speed is not None:
        api.unit.upfreq_speed = int(speed)
    return speed is not None


def _fast_boot(state: str) -> Write:
    def write(api: WhatsminerV2, _: dict[str, Any]) -> bool:
        api.unit.fast_boot = state
        return True

    return write


WRITES: dict[str, Write] = {
    "adjust_power_limit": _adjust_power_limit,
    "set_power": _set_power,
    "set_power_pct": _set_power_percent(fast=True),
    "set_power_pct_v2": _set_power_percent(fast=False),
    "restore_power_pct": _restore_power_percent,
    "set_low_power": _set_mode("low"),
    "set_normal_power": _set_mode("normal"),
    "set_high_power": _set_mode("high"),
    "set_target_freq": _set_target_freq,
    "power_off": _power_off,
    "power_on": _power_on,
    "restart_btminer": _restart_btminer,
    "reboot": _reboot,
    "update_pools": _update_pools,
    "set_led": _set_led,
    "adjust_upfreq_speed": _adjust_upfreq_speed,
    "enable_btminer_fast_boot": _fast_boot("enable"),
    "disable_btminer_fast_boot": _fast_boot("disable"),
}
