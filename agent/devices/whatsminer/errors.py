"""Whatsminer error codes in words and with a severity. Pure tables; parsing replies is done elsewhere.

Source: the split of codes that asic-rs and pyasic share, and the minor codes of MiningOS.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from agent.reading import MinerError

_CODE = re.compile(r"^\d{1,7}$")
_MOST = 64
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d_%H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")

_EXACT = {
    110: "intake fan speed error",
    111: "exhaust fan speed error",
    140: "fan speed too high",
    200: "no power supply found",
    201: "power supply does not match the configuration",
    202: "power supply output voltage error",
    203: "power supply protecting: high environment temperature",
    204: "power supply current protecting: high environment temperature",
    206: "power supply input voltage low",
    207: "power supply input current protecting",
    218: "power supply input below 230 V in high mode",
    240: "power supply output voltage low",
    250: "power supply input voltage low",
    251: "power supply input voltage low",
    253: "power supply fan error",
    254: "power supply fan error",
    255: "power supply over power",
    256: "power supply over power",
    329: "control board temperature sensor error",
    370: "environment temperature changes too fast",
    600: "environment temperature too high",
    610: "environment temperature too high for high mode",
    700: "no MAC address found",
    701: "control board not supported",
    713: "network or time error",
    2000: "no pool configured",
    2010: "all pools disabled",
    2030: "high share reject rate",
    2040: "pool does not support asicboost",
    2310: "hashrate too low",
    2320: "hashrate too low",
    2330: "hashrate loss too high",
    2340: "hashrate loss too high",
    8410: "software version error",
}
# First match wins; {n} is the last digit: the slot, sensor or pool it speaks of.
_FAMILIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"12\d", "fan speed differs by more than 2000 rpm"),
        (r"13\d", "fan speed differs by more than 3000 rpm"),
        (r"1\d\d", "fan error"),
        (r"23[3-9]", "power supply output protecting: temperature, current or voltage"),
        (r"24[3-9]", "power supply input protecting: temperature, voltage or current"),
        (r"26[3-7]", "power supply communication or watchdog error"),
        (r"26[89]|27[0-5]", "power supply warning"),
        (r"2\d\d", "power supply error"),
        (r"3[02]\d", "temperature sensor {n} error"),
        (r"35\d", "protecting: temperature of board {n} too high"),
        (r"36\d", "board {n} temperature too high"),
        (r"3\d\d", "temperature error"),
        (r"41\d", "board {n} EEPROM not detected"),
        (r"45\d", "board {n} EEPROM transfer error"),
        (r"4\d\d", "board {n} EEPROM error"),
        (r"51\d", "board {n} type mismatch"),
        (r"53\d", "board {n} not found"),
        (r"54\d", "board {n} chip id error"),
        (r"55\d", "board {n} has bad chips"),
        (r"56\d", "board {n} voltage balance error"),
        (r"58\d", "board {n} keeps resetting"),
        (r"59\d", "board {n} frequency too low"),
        (r"5\d\d", "board {n} error"),
        (r"6\d\d", "environment temperature error"),
        (r"71[0-2]", "abnormal control board reboot"),
        (r"7\d\d", "control board error"),
        (r"8\d\d", "checksum error"),
        (r"9\d\d", "power rate error"),
        (r"202\d", "pool {n} connection failed"),
        (r"20\d\d", "pool error"),
        (r"23\d\d", "hashrate error"),
        (r"507\d", "water velocity or temperature abnormal"),
        (r"511\d", "board {n} frequency ramp timed out"),
        (r"513\d", "board {n} hashrate unstable"),
        (r"5[01]\d\d", "board {n} chip voltage or temperature spread"),
        (r"99\d+", "unknown error of the miner's software"),
        (r"(8\d|90)\d\d", "factory or tool error"),
        (r"1[01]0[01]\d\d", "security library or signature error"),
    )
)
_CHIP_TROUBLES = {
    "52": "error nonces",
    "53": "too few nonces",
    "54": "temperature protected",
    "55": "reset",
    "56": "zero nonces",
}
# The miner protects itself or cannot hash on: heat, power supply output, missing boards.
_CRITICAL = re.compile(
    r"^(200|201|202|207|23[3-9]|24[3-9]|25[3-6]|35\d|36\d|53\d|600|610|110|111|507\d|1[01]0[01]\d\d)$"
)
# MiningOS treats these as no fault state on M30/M56 or M53.
_MINOR = frozenset(
    {203, 204, 205, 206, 217, 219, 236, 248, 264, 265, 266, 267, *range(270, 281), 320, 321, 322}
    | {620, 714, 901, 2320, 2330, 2350, 5140, 5141}
)


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
    return MinerError(text, reason or describe(text), severity(text), _moment(since))


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
    number = int(code)
    if number in _EXACT:
        return _EXACT[number]
    if len(code) == 6 and not code.startswith("1"):
        trouble = _CHIP_TROUBLES.get(code[:2], "error")
        return f"slot {code[2]} chip {int(code[3:])}: {trouble}"
    for pattern, text in _FAMILIES:
        if pattern.fullmatch(code):
            return text.format(n=code[-1])
    return "unknown error"


def severity(code: str) -> str:
    """`critical`: the miner protects itself or lost a part; `info`: MiningOS calls it minor; or `warning`."""
    if int(code) in _MINOR:
        return "info"
    return "critical" if _CRITICAL.match(code) else "warning"


def _moment(since: object) -> datetime | None:
    if not isinstance(since, str):
        return None
    for form in _TIMES:
        try:
            return datetime.strptime(since.strip()[:32], form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
