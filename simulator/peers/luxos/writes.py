"""The commands of LuxOS that change something. Most begin with the session's id; pools need none."""

from __future__ import annotations

import math
from collections.abc import Callable

from simulator.machine import MachineState, PoolEntry
from simulator.peers.antminer.layouts import Json
from simulator.peers.luxos import layouts
from simulator.peers.luxos.pools import MAX_GROUPS, MAX_POOLS, Group, Row
from simulator.peers.luxos.profiles import find
from simulator.peers.luxos.session import OTHERS
from simulator.peers.luxos.unit import LuxosUnit

_MAX_FIELD = 256


class Refused(Exception):
    """The firmware answers with an error.

    Args:
        code, message: of the `STATUS` row.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


Done = tuple[int, str, dict[str, list[Json]]]
Command = Callable[[list[str], MachineState], Done]


class LuxosWrites:
    """Carries out the commands of one unit that write."""

    def __init__(self, unit: LuxosUnit) -> None:
        self._unit = unit
        self._with_session: dict[str, Command] = {
            "logoff": self._logoff,
            "profileset": self._profileset,
            "powertargetset": self._powertargetset,
            "curtail": self._curtail,
            "atmset": self._atmset,
            "fanset": self._fanset,
            "tempctrlset": self._tempctrlset,
            "ledset": self._ledset,
            "rebootdevice": self._rebootdevice,
            "resetminer": self._resetminer,
        }
        self._open: dict[str, Command] = {
            "logon": self._logon,
            "kill": self._kill,
            "addpool": self._addpool,
            "removepool": self._removepool,
            "switchpool": self._switchpool,
            "enablepool": self._enablepool,
            "disablepool": self._disablepool,
            "poolpriority": self._poolpriority,
            "addgroup": self._addgroup,
            "removegroup": self._removegroup,
            "groupquota": self._groupquota,
        }

    def knows(self, command: str) -> bool:
        """True for a command that is there."""
        return command in self._with_session or command in self._open

    def holder(self) -> str:
        """Id of the session that may write now, empty without one."""
        if self._unit.surface.faults.config_locked:
            return OTHERS
        return self._unit.session.current

    def answer(self, command: str, parameter: str, state: MachineState) -> Json:
        """The reply to one command, which is carried out on the way."""
        fields = [field.strip() for field in parameter.split(",")] if parameter else []
        try:
            if any(len(field) > _MAX_FIELD for field in fields):
                raise Refused(402, "Invalid parameter")
            code, message, sections = self._carry_out(command, fields, state)
        except Refused as refused:
            return {"STATUS": layouts.status(state, refused.code, str(refused), "E"), "id": 1}
        return {**sections, "STATUS": layouts.status(state, code, message), "id": 1}

    def _carry_out(self, command: str, fields: list[str], state: MachineState) -> Done:
        if not self.knows(command):
            raise Refused(14, "Invalid command")
        if not self._unit.surface.write_open:
            raise Refused(45, f"Access denied to '{command}' command")
        act = self._open.get(command)
        if act is not None:
            return act(fields, state)
        if not fields or not fields[0]:
            raise Refused(400, "Missing parameter: session_id")
        self._check_session(fields[0])
        return self._with_session[command](fields[1:], state)

    def _check_session(self, session_id: str) -> None:
        faults = self._unit.surface.faults
        if faults.config_locked and session_id == OTHERS:
            return
        # With a broken login a session is gone as soon as it was made.
        if faults.token_expired or faults.login_loop or not self._unit.session.use(session_id):
            raise Refused(418, "Invalid session")

    # -- the session -----------------------------------------------------------------------------

    def _logon(self, _: list[str], state: MachineState) -> Done:
        session_id = None if self._unit.surface.faults.config_locked else self._unit.session.open()
        if session_id is None:
            raise Refused(402, "Another session is active")
        return 316, "Session created", {"SESSION": [{"SessionID": session_id}]}

    def _logoff(self, _: list[str], state: MachineState) -> Done:
        self._unit.session.close()
        return 317, "Session terminated", {}

    def _kill(self, _: list[str], state: MachineState) -> Done:
        self._unit.session.close()
        return 318, "Session killed", {}

    # -- power -----------------------------------------------------------------------------------

    def _profileset(self, fields: list[str], state: MachineState) -> Done:
        unit = self._unit
        # An old form names a board first; the profile is the unit's all the same.
        board = int(fields[0]) if len(fields) > 1 and fields[0] in ("0", "1", "2", "3") else 0
        names = fields[1:] if len(fields) > 1 and fields[0] in ("0", "1", "2", "3") else fields
        if not names or not names[0]:
            raise Refused(400, "Missing parameter: profile")
        if unit.atm.enabled:
            raise Refused(423, "Cannot set profile while ATM is enabled")
        profile = find(unit.profiles, names[0], unit.profile(state))
        if profile is None:
            raise Refused(403, f"Profile '{names[0]}' not found")
        unit.set_profile(profile)
        row = {"Board": board, "FrequencyStep": 5, "Profile": profile.name, "VoltageStep": 0.05}
        return 321, "Profile Set", {"PROFILE": [row]}

    def _powertargetset(self, fields: list[str], state: MachineState) -> Done:
        unit = self._unit
        if not unit.targeting:
            raise Refused(436, "Power target is not supported on this model")
        watts = _whole(_pairs(fields, ("power",)).get("power", ""), "power")
        low, high = unit.watt_range
        if not low <= watts <= high:
            raise Refused(437, f"Power target must be between {low} and {high}")
        unit.set_target(watts)
        return 359, "Power target set", {"POWERTARGET": [{"Power": watts}]}

    def _curtail(self, fields: list[str], state: MachineState) -> Done:
        machine = self._unit.surface.machine
        action = fields[0].lower() if fields else ""
        if action not in ("sleep", "wakeup"):
            raise Refused(404, "Invalid action")
        asleep = not state.mining_enabled
        if asleep == (action == "sleep"):
            raise Refused(413, f"Miner is already {'in sleep mode' if asleep else 'awake'}")
        self._unit.resetting = False
        self._unit.surface.perform(machine.power_off if action == "sleep" else machine.power_on)
        done = "sleep mode" if action == "sleep" else "wake up"
        return 335, "Curtailment command sent", {"CURTAIL": [{"Action": done}]}

    def _atmset(self, fields: list[str], state: MachineState) -> Done:
        atm = self._unit.atm
        numbers = ("startup_minutes", "post_ramp_minutes", "temp_window")
        pairs = _pairs(fields, ("enabled", "min_profile", "max_profile", "prevent_oc", *numbers))
        if not pairs:
            raise Refused(400, "Missing parameter")
        flags = {key: pairs[key].lower() for key in ("enabled", "prevent_oc") if key in pairs}
        if any(value not in ("true", "false") for value in flags.values()):
            raise Refused(402, "Invalid parameter")
        changes: dict[str, object] = {key: _whole(pairs[key], key) for key in numbers if key in pairs}
        for key in ("min_profile", "max_profile"):
            if pairs.get(key) and find(self._unit.profiles, pairs[key], self._unit.profile(state)) is None:
                raise Refused(403, f"Profile '{pairs[key]}' not found")
            if key in pairs:
                changes[key] = pairs[key]
        if "enabled" in flags:
            changes["enabled"] = flags["enabled"] == "true"
        self._unit.surface.perform(lambda: _assign(atm, changes))
        return 340, "Advanced Thermal Management configuration updated", {}

    # -- cooling, lamps and restarts -------------------------------------------------------------

    def _fanset(self, fields: list[str], state: MachineState) -> Done:
        pairs = _pairs(fields, ("speed", "min_fans", "power_off_speed"))
        if not pairs:
            raise Refused(400, "Missing parameter")
        machine = self._unit.surface.machine
        if "min_fans" in pairs:
            fewest = min(8, _whole(pairs["min_fans"], "min_fans"))
            self._unit.surface.perform(lambda: _assign(self._unit, {"min_fans": fewest}))
        speed = pairs.get("speed")
        if speed == "-1":
            self._unit.surface.perform(lambda: machine.set_fan(manual=False, pwm=100))
        elif speed is not None:
            pwm = _whole(speed, "speed")
            if pwm > 100:
                raise Refused(402, "Invalid parameter: speed")
            self._unit.surface.perform(lambda: machine.set_fan(manual=True, pwm=pwm))
        return 326, "Fan speed set", {"FANS": layouts.fan_rows(state)}

    def _tempctrlset(self, fields: list[str], state: MachineState) -> Done:
        control = self._unit.temp_control
        names = ("target", "hot", "dangerous")
        if any("=" in field for field in fields):
            pairs = _pairs(fields, tuple(f"{name}_temp" for name in names))
            given = [pairs.get(f"{name}_temp", "") for name in names]
        else:
            given = [*fields, "", "", ""][:3]
        held = (control.target, control.hot, control.dangerous)
        values = [_celsius(text) if text else was for text, was in zip(given, held, strict=True)]
        if values != sorted(values):
            raise Refused(402, "Invalid parameter: a later temperature is below an earlier one")
        changes: dict[str, object] = dict(zip(names, values, strict=True))
        self._unit.surface.perform(lambda: _assign(control, changes))
        row = {"Dangerous": values[2], "Hot": values[1], "Target": values[0]}
        return 330, "Set temperature control", {"TEMPCTRL": [row]}

    def _ledset(self, fields: list[str], state: MachineState) -> Done:
        if len(fields) != 2 or fields[0] not in ("red", "green"):
            raise Refused(402, "Invalid parameter")
        if fields[1] not in ("on", "off", "blink", "auto"):
            raise Refused(402, "Invalid parameter")
        changes: dict[str, object] = {f"{fields[0]}_led": fields[1]}
        self._unit.surface.perform(lambda: _assign(self._unit, changes))
        return 320, "LED mode set", {}

    def _rebootdevice(self, _: list[str], state: MachineState) -> Done:
        self._unit.surface.perform(self._unit.surface.machine.reboot)
        self._unit.session.close()
        return 328, "Rebooting device", {}

    def _resetminer(self, _: list[str], state: MachineState) -> Done:
        self._unit.surface.perform(self._unit.reset)
        self._unit.session.close()
        return 329, "Resetting miner", {}

    # -- pools -----------------------------------------------------------------------------------

    def _addpool(self, fields: list[str], state: MachineState) -> Done:
        book = self._unit.pools
        if len(fields) not in (2, 3, 4) or not fields[0] or not fields[1]:
            raise Refused(53, "Invalid addpool details")
        group = _whole(fields[3], "group") if len(fields) == 4 else 0
        count = len(book.rows())
        if group >= len(book.groups):
            raise Refused(405, f"Invalid group id {group}")
        if count >= MAX_POOLS:
            raise Refused(402, "Too many pools")
        url = fields[0] if "://" in fields[0] else f"stratum+tcp://{fields[0]}"
        entry = PoolEntry(url, fields[1], fields[2] if len(fields) > 2 else "")
        self._unit.surface.perform(lambda: book.add(entry, group))
        return 55, f"Added pool {count}: '{url}'", {}

    def _removepool(self, fields: list[str], state: MachineState) -> Done:
        book = self._unit.pools
        number, row = self._pool(fields)
        if len(book.rows()) == 1:
            raise Refused(66, f"Cannot remove last pool {number}:'{row.entry.url}'")
        if row is book.active():
            raise Refused(67, f"Cannot remove active pool {number}:'{row.entry.url}'")
        self._unit.surface.perform(lambda: book.remove(row))
        return 68, f"Removed pool {number}:'{row.entry.url}'", {}

    def _switchpool(self, fields: list[str], state: MachineState) -> Done:
        number, row = self._pool(fields)
        self._unit.surface.perform(lambda: self._unit.pools.prefer(row))
        return 27, f"Switching to pool {number}: '{row.entry.url}'", {}

    def _enablepool(self, fields: list[str], state: MachineState) -> Done:
        number, row = self._pool(fields)
        self._unit.surface.perform(lambda: _assign(row, {"disabled": False}))
        return 47, f"Enabling pool {number}:'{row.entry.url}'", {}

    def _disablepool(self, fields: list[str], state: MachineState) -> Done:
        number, row = self._pool(fields)
        if all(other.disabled for other in self._unit.pools.rows() if other is not row):
            raise Refused(50, f"Cannot disable last active pool {number}:'{row.entry.url}'")
        self._unit.surface.perform(lambda: _assign(row, {"disabled": True}))
        return 48, f"Disabling pool {number}:'{row.entry.url}'", {}

    def _poolpriority(self, fields: list[str], state: MachineState) -> Done:
        rows = self._unit.pools.rows()
        order = [_whole(field, "pool") for field in fields]
        if not order or max(order) >= len(rows) or len(set(order)) != len(order):
            raise Refused(26, "Invalid pool id")
        wanted = [rows[number] for number in order]
        self._unit.surface.perform(lambda: self._unit.pools.reorder(wanted))
        return 73, "Changed pool priorities", {}

    def _addgroup(self, fields: list[str], state: MachineState) -> Done:
        groups = self._unit.pools.groups
        if len(fields) != 2 or not fields[0]:
            raise Refused(402, "Invalid parameter")
        if len(groups) >= MAX_GROUPS:
            raise Refused(402, "Too many groups")
        group = Group(fields[0], float(_whole(fields[1], "quota")))
        self._unit.surface.perform(lambda: groups.append(group))
        return 342, f"Added group {len(groups)}: '{group.name}'", {}

    def _removegroup(self, fields: list[str], state: MachineState) -> Done:
        number = _whole(fields[0] if fields else "", "group")
        if number >= len(self._unit.pools.groups):
            raise Refused(405, f"Invalid group id {number}")
        self._unit.surface.perform(lambda: self._unit.pools.remove_group(number))
        return 343, f"Removed group {number}", {}

    def _groupquota(self, fields: list[str], state: MachineState) -> Done:
        groups = self._unit.pools.groups
        number = _whole(fields[0] if fields else "", "group")
        quota = _whole(fields[1] if len(fields) > 1 else "", "quota")
        if number >= len(groups):
            raise Refused(405, f"Invalid group id {number}")
        self._unit.surface.perform(lambda: _assign(groups[number], {"quota": float(quota)}))
        return 344, f"Quota of group {number} set", {}

    def _pool(self, fields: list[str]) -> tuple[int, Row]:
        number = _whole(fields[0] if fields else "", "pool")
        rows = self._unit.pools.rows()
        if number >= len(rows):
            raise Refused(26, f"Invalid pool id {number} - range is 0 - {len(rows) - 1}")
        return number, rows[number]


def _assign(target: object, changes: dict[str, object]) -> None:
    for name, value in changes.items():
        setattr(target, name, value)


def _pairs(fields: list[str], known: tuple[str, ...]) -> dict[str, str]:
    """The `key=value` fields.

    Raises:
        Refused: one is not a pair, or its key is not known.
    """
    pairs: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or key not in known:
            raise Refused(402, f"Invalid parameter: {key}")
        pairs[key] = value
    return pairs


def _whole(text: str, name: str) -> int:
    """A small whole number.

    Raises:
        Refused: it is not one.
    """
    if not text:
        raise Refused(400, f"Missing parameter: {name}")
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Refused(402, f"Invalid parameter: {name}")
    return int(text)


def _celsius(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 100.0:
        raise Refused(402, "Invalid parameter: temperature")
    return value
