"""LuxOS's API on TCP 4028: one JSON request, one JSON line, then close. What writes is in `writes`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json, present_boards
from simulator.peers.faults import send
from simulator.peers.listener import Hangup, compact, read_json_request
from simulator.peers.luxos import layouts
from simulator.peers.luxos.unit import LuxosUnit
from simulator.peers.luxos.writes import LuxosWrites

REQUEST_LIMIT_BYTES = 8192
IDLE_S = 10.0
MAX_JOINED = 24


class LuxosApi:
    """Answers connections to port 4028."""

    def __init__(self, unit: LuxosUnit) -> None:
        self._unit = unit
        self._writes = LuxosWrites(unit)
        self._reads: dict[str, Callable[[MachineState, str], Json]] = {
            "version": lambda s, _: _reply(s, 22, "LUXminer versions", VERSION=[layouts.version_row(s)]),
            "summary": lambda s, _: _reply(s, 11, "Summary", SUMMARY=[layouts.summary_row(s)]),
            "stats": lambda s, _: _reply(s, 70, "LUXminer stats", STATS=layouts.stats_rows(s)),
            "estats": lambda s, _: _reply(s, 70, "LUXminer stats", STATS=layouts.stats_rows(s)),
            "devs": self._devs,
            "edevs": self._devs,
            "devdetails": lambda s, _: _reply(
                s, 69, "Device Details", DEVDETAILS=layouts.devdetails_rows(s, unit)
            ),
            "asccount": lambda s, _: _reply(s, 104, "ASC count", ASCS=[{"Count": len(present_boards(s))}]),
            "pools": self._pools,
            "groups": self._groups,
            "config": self._config,
            "fans": self._fans,
            "temps": lambda s, _: _reply(
                s, 201, "Temps", TEMPS=layouts.temp_rows(s), METADATA=layouts.temp_metadata(s)
            ),
            "tempctrl": self._tempctrl,
            "power": self._power,
            "profiles": lambda s, _: _reply(s, 323, "List Profiles", PROFILES=layouts.profile_rows(unit)),
            "limits": lambda s, _: _reply(s, 332, "Limits", LIMITS=[layouts.limits_row(unit)]),
            "atm": self._atm,
            "events": lambda s, _: _reply(s, 357, "Miner events", EVENTS=layouts.event_rows(s)),
            "powertargetget": self._power_target,
            "healthchipget": self._chips,
            "voltageget": self._voltage,
            "frequencyget": self._frequencies,
            "session": self._session,
            "tunerstatus": lambda s, _: _reply(
                s,
                353,
                "Tuner Status",
                TUNERSTATUS=[layouts.tuner_row(s)],
            ),
            "coin": lambda s, _: _reply(
                s,
                78,
                "LUXminer coin",
                COIN=[layouts.COIN],
            ),
            "check": self._check,
        }

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the mining process is down.
        """
        raw = await read_json_request(reader, REQUEST_LIMIT_BYTES, IDLE_S)
        if not raw:
            return
        surface = self._unit.surface
        state = surface.state()
        faults = surface.faults
        if not self._unit.answers(state) or faults.process_down:
            raise Hangup
        body = compact(self.answer(raw, state)) + b"\n"
        await send(writer, faults.spoil_json(body), faults)

    def answer(self, raw: bytes, state: MachineState) -> Json:
        """The reply to one request."""
        try:
            request = json.loads(raw.strip(b"\x00\r\n\t "))
        except (ValueError, RecursionError):
            return _refusal(state, 23, "Invalid JSON")
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return _refusal(state, 24, "Missing JSON 'command'")
        parameter = _text(request.get("parameter"))
        if "+" not in command:
            return self._one(command.lower(), parameter, state)
        if parameter:
            return _refusal(state, 400, "Multi-command requests cannot have parameters")
        names = command.lower().split("+")[:MAX_JOINED]
        joined: Json = {name: [self._one(name, "", state)] for name in names}
        return joined | {"id": 1}

    def _one(self, command: str, parameter: str, state: MachineState) -> Json:
        read = self._reads.get(command)
        if read is not None:
            return read(state, parameter)
        return self._writes.answer(command, parameter, state)

    def _devs(self, state: MachineState, _: str) -> Json:
        rows = layouts.devs_rows(state, self._unit)
        return _reply(state, 9, f"{len(rows)} ASC(s)", DEVS=rows)

    def _pools(self, state: MachineState, _: str) -> Json:
        book = self._unit.pools
        active = book.active()
        rows = [
            layouts.pool_row(state, book, number, row, active=row is active)
            for number, row in enumerate(book.rows())
        ]
        return _reply(state, 7, f"{len(rows)} Pool(s)", POOLS=rows)

    def _groups(self, state: MachineState, _: str) -> Json:
        groups = self._unit.pools.groups
        rows = [
            {"GROUP": number, "Name": group.name, "Quota": group.quota} for number, group in enumerate(groups)
        ]
        return _reply(state, 324, f"{len(rows)} Group(s)", GROUPS=rows)

    def _config(self, state: MachineState, _: str) -> Json:
        if self._unit.surface.faults.http_500_on_conf:
            return _refusal(state, 500, "Internal error")
        return _reply(state, 33, "LUXminer config", CONFIG=[layouts.config_row(state, self._unit)])

    def _fans(self, state: MachineState, _: str) -> Json:
        rows = layouts.fan_rows(state)
        control = {
            "FanMaxSpeed": 100,
            "FanMinSpeed": 20,
            "MinFans": self._unit.min_fans,
            "PowerOffSpeed": 0,
            "QuietFanStartup": False,
        }
        return _reply(state, 202, f"{len(rows)} Fan(s)", FANS=rows, FANCTRL=[control])

    def _tempctrl(self, state: MachineState, _: str) -> Json:
        control = self._unit.temp_control
        row = {
            "ChipDangerous": 100.0,
            "ChipHot": 95.0,
            "Dangerous": control.dangerous,
            "Hot": control.hot,
            "Mode": "Manual" if state.fan_manual else "Automatic",
            "Target": control.target,
        }
        return _reply(state, 200, "Temperature control", TEMPCTRL=[row])

    def _power(self, state: MachineState, _: str) -> Json:
        sensor = self._unit.surface.machine.spec.sensor
        row: Json = {"PSU": sensor is not None and sensor.source == "measured"}
        if not self._unit.surface.faults.unknown_power and state.reported_power_w is not None:
            row["Watts"] = round(state.reported_power_w)
        return _reply(state, 331, "Power", POWER=[row])

    def _atm(self, state: MachineState, _: str) -> Json:
        atm = self._unit.atm
        row = {
            "ChipTempWindow": atm.temp_window,
            "Enabled": atm.enabled,
            "MaxProfile": atm.max_profile,
            "MinProfile": atm.min_profile,
            "PostRampMinutes": atm.post_ramp_minutes,
            "StartupMinutes": atm.startup_minutes,
            "TempWindow": atm.temp_window,
        }
        return _reply(state, 339, "ATM configuration values", ATM=[row])

    def _power_target(self, state: MachineState, _: str) -> Json:
        if not self._unit.targeting:
            return _refusal(state, 436, "Power target is not supported on this model")
        low, high = self._unit.watt_range
        row = {"Enabled": True, "Max": high, "Min": low, "Power": self._unit.target_watts(state)}
        return _reply(state, 360, "Power target", POWERTARGET=[row])

    def _chips(self, state: MachineState, parameter: str) -> Json:
        number = _number(parameter.split(",")[0])
        if number is None:
            return _refusal(state, 400, "Missing parameter: board_id")
        if number >= len(state.boards):
            return _refusal(state, 401, "Invalid board id")
        rows = layouts.chip_rows(state.boards[number])
        if "," in parameter:
            chip = _number(parameter.split(",")[1])
            rows = [row for row in rows if row["Chip"] == chip]
            if not rows:
                return _refusal(state, 401, "Invalid chip id")
        return _reply(state, 310, "Chip health", CHIPS=rows)

    def _voltage(self, state: MachineState, parameter: str) -> Json:
        number = _number(parameter.split(",")[0])
        if number is None:
            return _refusal(state, 400, "Missing parameter: board_id")
        if number >= len(state.boards):
            return _refusal(state, 401, "Invalid board id")
        row = {"Board": number, "IsOnBoard": False, "Voltage": round(state.boards[number].voltage_v, 2)}
        return _reply(state, 307, "Get Voltage", VOLTAGE=[row])

    def _frequencies(self, state: MachineState, parameter: str) -> Json:
        number = _number(parameter.split(",")[0])
        if number is None:
            return _refusal(state, 400, "Missing parameter: board_id")
        if number >= len(state.boards):
            return _refusal(state, 401, "Invalid board id")
        board = state.boards[number]
        row = {"Board": number, "Count": board.chips, "Freqs": [round(board.frequency_mhz)] * board.chips}
        return _reply(state, 305, "Get Frequency", FREQS=[row])

    def _session(self, state: MachineState, _: str) -> Json:
        return _reply(state, 319, "Session information", SESSION=[{"SessionID": self._writes.holder()}])

    def _check(self, state: MachineState, parameter: str) -> Json:
        known = parameter in self._reads or self._writes.knows(parameter)
        answer = "Y" if known else "N"
        return _reply(state, 72, "Check command", CHECK=[{"Exists": answer, "Access": answer}])


def _reply(state: MachineState, code: int, message: str, **sections: list[Json]) -> Json:
    reply: Json = {name: sections[name] for name in sorted(sections)}
    return reply | {"STATUS": layouts.status(state, code, message), "id": 1}


def _refusal(state: MachineState, code: int, message: str) -> Json:
    return {"STATUS": layouts.status(state, code, message, "E"), "id": 1}


def _text(parameter: object) -> str:
    if isinstance(parameter, str):
        return parameter
    return str(parameter) if isinstance(parameter, int) and not isinstance(parameter, bool) else ""


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else None
