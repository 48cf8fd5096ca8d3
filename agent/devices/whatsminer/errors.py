"""Whatsminer error codes in words and with a severity. Pure tables; parsing replies is done elsewhere.

Source: the split of codes that asic-rs and pyasic share, and the minor codes of MiningOS, which it takes
for no fault of an M30, M53 or M56 and which are `info` here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from agent.devices.error_codes import ErrorCode, Severity, lookup
from agent.reading import MinerError

_CODE = re.compile(r"^\d{1,7}$")
_MOST = 64
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d_%H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")

# Rows of six-digit codes come before those of four, exact codes before those that stand for the rest of a
# family: the first match wins.
TABLE: tuple[ErrorCode, ...] = (
    ErrorCode("100", "fan error", "warning"),
    ErrorCode("110", "intake fan speed error", "critical"),
    ErrorCode("111", "exhaust fan speed error", "critical"),
    ErrorCode("120", "intake fan speed differs by more than 2000 rpm", "critical"),
    ErrorCode("121", "exhaust fan speed differs by more than 2000 rpm", "critical"),
    ErrorCode("130", "intake fan speed differs by more than 3000 rpm", "critical"),
    ErrorCode("131", "exhaust fan speed differs by more than 3000 rpm", "critical"),
    ErrorCode("140", "fan speed too high", "warning"),
    ErrorCode("1??", "fan error", "warning"),
    ErrorCode("200", "no power supply found", "critical"),
    ErrorCode("201", "power supply does not match the configuration", "critical"),
    ErrorCode("202", "power supply output voltage error", "critical"),
    ErrorCode("203", "power supply protecting: high environment temperature", "info"),
    ErrorCode("204", "power supply current protecting: high environment temperature", "info"),
    ErrorCode("205", "power supply current error", "info"),
    ErrorCode("206", "power supply input voltage low", "info"),
    ErrorCode("207", "power supply input current protecting", "critical"),
    ErrorCode("208", "power supply power error", "warning"),
    ErrorCode("209", "power supply voltage offset error", "warning"),
    ErrorCode("211", "power supply output current error; reboot the miner", "warning"),
    ErrorCode("212", "power supply output voltage at the edge of its range", "warning"),
    ErrorCode("213", "power supply input does not match its output", "warning"),
    ErrorCode("214", "power supply input power did not change", "warning"),
    ErrorCode("215", "power supply output voltage could not be set", "warning"),
    ErrorCode("216", "power supply figures have not changed for a long time", "warning"),
    ErrorCode("217", "power supply could not be switched", "info"),
    ErrorCode("218", "power supply input below 230 V in high mode", "warning"),
    ErrorCode("219", "power supply input current wrong", "info"),
    ErrorCode("233 234 235", "power supply output protecting: too hot", "critical"),
    ErrorCode("236", "power supply output protecting: current too high", "info"),
    ErrorCode("237 238", "power supply output protecting: current too high", "critical"),
    ErrorCode("239", "power supply output protecting: voltage too high", "critical"),
    ErrorCode("240", "power supply output voltage low", "warning"),
    ErrorCode("241", "power supply output currents unequal", "warning"),
    ErrorCode("243 244 245", "power supply input protecting: too hot", "critical"),
    ErrorCode("246 247", "power supply input protecting: voltage too high", "critical"),
    ErrorCode("248", "power supply input protecting: current too high", "info"),
    ErrorCode("249", "power supply input protecting: current too high", "critical"),
    ErrorCode("250 251", "power supply input voltage low", "warning"),
    ErrorCode("253 254", "power supply fan error", "critical"),
    ErrorCode("255 256", "power supply over power", "critical"),
    ErrorCode("257", "power supply input current too high on its primary side", "critical"),
    ErrorCode("263", "power supply communication warning", "warning"),
    ErrorCode("264", "power supply communication error", "info"),
    ErrorCode("265 266", "power supply error of unknown kind", "info"),
    ErrorCode("267", "power supply watchdog has acted", "info"),
    ErrorCode("268", "power supply protecting: output current too high", "critical"),
    ErrorCode("269", "power supply protecting: input current too high", "critical"),
    ErrorCode("270", "power supply input voltage too high", "info"),
    ErrorCode("271", "power supply input voltage too low", "info"),
    ErrorCode("272", "power supply output above its rating", "info"),
    ErrorCode("273", "power supply input above its rating", "info"),
    ErrorCode("274", "power supply fan warning", "info"),
    ErrorCode("275", "power supply warm", "info"),
    ErrorCode("276 277 278 279 280", "power supply error of unknown kind", "info"),
    ErrorCode("28?", "power supply: a status bit of its maker", "warning"),
    ErrorCode("29?", "power supply: a status bit of its maker", "warning"),
    ErrorCode("2??", "power supply error", "warning"),
    ErrorCode("320", "temperature of board 0 cannot be read", "info"),
    ErrorCode("321", "temperature of board 1 cannot be read", "info"),
    ErrorCode("322", "temperature of board 2 cannot be read", "info"),
    ErrorCode("329", "control board temperature sensor error", "warning"),
    ErrorCode("30n", "temperature sensor of board {n} not found", "warning"),
    ErrorCode("32n", "temperature of board {n} cannot be read", "warning"),
    ErrorCode("35n", "protecting: temperature of board {n} too high", "critical"),
    ErrorCode("36n", "board {n} temperature too high", "critical"),
    ErrorCode("370", "environment temperature changes too fast", "warning"),
    ErrorCode("380 381 382", "humidity sensor error", "warning"),
    ErrorCode("383", "protecting: humidity", "critical"),
    ErrorCode("3??", "temperature error", "warning"),
    ErrorCode("41n", "board {n} EEPROM not detected", "critical"),
    ErrorCode("42n", "board {n} EEPROM cannot be understood", "warning"),
    ErrorCode("43n", "board {n} chip grade error in its EEPROM", "warning"),
    ErrorCode("44n", "board {n} chip count error in its EEPROM", "warning"),
    ErrorCode("45n", "board {n} EEPROM transfer error", "warning"),
    ErrorCode("4??", "EEPROM error", "warning"),
    ErrorCode("51n", "board {n} type mismatch", "warning"),
    ErrorCode("52n", "board {n} chip grade mismatch", "warning"),
    ErrorCode("53n", "board {n} not found", "critical"),
    ErrorCode("54n", "board {n} chip id error", "critical"),
    ErrorCode("55n", "board {n} has bad chips", "warning"),
    ErrorCode("56n", "board {n} voltage balance error", "warning"),
    ErrorCode("57n", "board {n} transfer error between chips", "warning"),
    ErrorCode("58n", "board {n} keeps resetting", "warning"),
    ErrorCode("59n", "board {n} frequency too low", "warning"),
    ErrorCode("5??", "board error", "warning"),
    ErrorCode("600", "environment temperature too high", "critical"),
    ErrorCode("610", "environment temperature too high for high mode", "critical"),
    ErrorCode("620", "environment temperature error", "info"),
    ErrorCode("6??", "environment temperature error", "warning"),
    ErrorCode("700", "no MAC address found", "warning"),
    ErrorCode("701", "control board not supported", "critical"),
    ErrorCode("710 712", "abnormal control board reboot", "warning"),
    ErrorCode("711", "abnormal control board reboot; it now runs slower, upgrade the firmware", "warning"),
    ErrorCode("713", "network or time error", "warning"),
    ErrorCode("714", "control board error", "info"),
    ErrorCode("72n", "control board: broken frames from board {n}", "warning"),
    ErrorCode("7??", "control board error", "warning"),
    ErrorCode("800", "checksum error of the mining program", "critical"),
    ErrorCode("801 802", "checksum error of a system program", "critical"),
    ErrorCode("810", "firmware for another cooling than this unit's boards", "critical"),
    ErrorCode("8??", "checksum error", "warning"),
    ErrorCode("901", "power rate error", "info"),
    ErrorCode("9??", "power rate error", "warning"),
    ErrorCode("2000", "no pool configured", "critical"),
    ErrorCode("2010", "all pools disabled", "critical"),
    ErrorCode("202n", "pool {n} connection failed", "warning"),
    ErrorCode("2030", "high share reject rate", "warning"),
    ErrorCode("2040", "pool does not support asicboost", "warning"),
    ErrorCode("20??", "pool error", "warning"),
    ErrorCode("211n", "board {n} failed a step of the factory test", "warning"),
    ErrorCode("2310", "hashrate too low", "warning"),
    ErrorCode("2320", "hashrate too low", "info"),
    ErrorCode("2330", "hashrate loss too high", "info"),
    ErrorCode("2340", "hashrate loss too high", "warning"),
    ErrorCode("2350", "hashrate loss", "info"),
    ErrorCode("23??", "hashrate error", "warning"),
    ErrorCode("501n", "board {n} chip voltage too low", "warning"),
    ErrorCode("502n", "board {n} chip voltage has changed", "warning"),
    ErrorCode("503n", "board {n} chip temperatures differ too much", "warning"),
    ErrorCode("504n", "board {n} hottest chips differ too much", "warning"),
    ErrorCode("505n", "board {n} stopped: protecting its chips from heat", "critical"),
    ErrorCode("507?", "water velocity or temperature abnormal", "critical"),
    ErrorCode("5080", "chip temperatures could not be calibrated; restore the factory settings", "warning"),
    ErrorCode("509n", "board {n} chip temperature calibration out of balance", "warning"),
    ErrorCode("511n 517n", "board {n} frequency ramp timed out", "warning"),
    ErrorCode("512n", "board {n} too many transfer errors", "warning"),
    ErrorCode("513n", "board {n} hashrate unstable", "warning"),
    ErrorCode("5140 5141", "board hashrate error", "info"),
    ErrorCode("50?? 51??", "board chip voltage or temperature spread", "warning"),
    ErrorCode("52nm", "slot {n} chip {m}: error nonces", "warning"),
    ErrorCode("53nm", "slot {n} chip {m}: too few nonces", "warning"),
    ErrorCode("54nm", "slot {n} chip {m}: temperature protected", "warning"),
    ErrorCode("55nm", "slot {n} chip {m}: reset", "warning"),
    ErrorCode("56nm", "slot {n} chip {m}: zero nonces", "warning"),
    ErrorCode("8000", "the maker's tool is too old", "info"),
    ErrorCode("8010", "frequency low", "warning"),
    ErrorCode("8020", "hashrate low", "warning"),
    ErrorCode("8035", "environment temperature high", "warning"),
    ErrorCode("8100", "chip data error", "warning"),
    ErrorCode("8200", "power supply version error", "warning"),
    ErrorCode("8210", "miner type error", "warning"),
    ErrorCode("8220", "version information error", "warning"),
    ErrorCode("8300", "level is empty", "warning"),
    ErrorCode("8400", "firmware is old", "warning"),
    ErrorCode("8410", "software version error", "critical"),
    ErrorCode("85n0", "factory check: hashrate below level {n}", "warning"),
    ErrorCode("85n1", "factory check: power above level {n}", "warning"),
    ErrorCode("85n2 85n3", "factory check: fan speed off level {n}", "warning"),
    ErrorCode("85n4", "factory check: voltage off level {n}", "warning"),
    ErrorCode("86??", "factory check: a serial number, type or model is missing or wrong", "warning"),
    ErrorCode("8700", "power supply does not match the miner", "warning"),
    ErrorCode("8???", "factory or tool error", "warning"),
    ErrorCode("9000 9010", "the mining process has died", "critical"),
    ErrorCode("90??", "factory or tool error", "warning"),
    ErrorCode("99?? 99???", "unknown error of the miner's software", "warning"),
    ErrorCode("100000", "security library or signature error", "critical"),
    ErrorCode(
        "100100", "the mining program was removed by the security library; upgrade the firmware", "critical"
    ),
    ErrorCode("110000", "illegal file found by the security library; upgrade the firmware", "critical"),
    ErrorCode("110001", "a virus was removed; upgrade the firmware, change every password", "critical"),
    ErrorCode("1000?? 1001?? 1100?? 1101??", "security library or signature error", "critical"),
)
# Six digits that do not begin with 1: kind of trouble, slot, chip.
CHIP_TROUBLES = {
    "52": "error nonces",
    "53": "too few nonces",
    "54": "temperature protected",
    "55": "reset",
    "56": "zero nonces",
}


def error_of(code: object, since: object = None, reason: str | None = None) -> MinerError | None:
    """One reported code as a typed error; None if `code` is no code (0 and empty mean "no error").

    Args:
        code: number or text of up to seven digits, as the firmware wrote it.
        since: the firmware's time text; it names no zone and is taken as UTC.
        reason: the firmware's own words, which win over ours.
    """
    text = str(code).strip() if isinstance(code, int | str) and not isinstance(code, bool) else ""
    if isinstance(code, float) and code.is_integer() and 0.0 < code < 1e7:
        text = str(int(code))
    if not (text.isascii() and _CODE.match(text)) or int(text) == 0:
        return None
    words, grade = _found(text)
    return MinerError(text, reason or words, grade, _moment(since))


def errors_of(listed: object) -> tuple[MinerError, ...]:
    """Every error in a firmware's list, in order, each code once, at most 64.

    Args:
        listed: `[{"329": "2022-01-17 11:28:11"}]`, `[{"264": "..", "reason": ".."}]`, `["329"]`, or
            one object.
    """
    found: dict[str, MinerError] = {}
    items = listed[:_MOST] if isinstance(listed, list) else [listed]
    for item in items:
        reason = item.get("reason") if isinstance(item, dict) else None
        pairs = list(item.items())[:_MOST] if isinstance(item, dict) else [(item, None)]
        for code, since in pairs:
            error = error_of(code, since, reason[:200] if isinstance(reason, str) and reason else None)
            if error is not None and len(found) < _MOST:
                found.setdefault(error.code, error)
    return tuple(found.values())


def describe(code: str) -> str:
    """Words for a code of ASCII digits; `unknown error` where no table has it."""
    return _found(code)[0]


def severity(code: str) -> Severity:
    """How bad a code of ASCII digits is; one that no table has is a warning."""
    return _found(code)[1]


def _found(code: str) -> tuple[str, Severity]:
    if len(code) == 6 and not code.startswith("1"):
        trouble = CHIP_TROUBLES.get(code[:2], "error")
        return f"slot {code[2]} chip {int(code[3:])}: {trouble}", "warning"
    return lookup(TABLE, code) or ("unknown error", "warning")


def _moment(since: object) -> datetime | None:
    if not isinstance(since, str):
        return None
    for form in _TIMES:
        try:
            return datetime.strptime(since.strip()[:32], form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
