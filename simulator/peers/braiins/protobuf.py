"""Protocol buffers for the gRPC API, whose messages are the documents of the REST API by field number."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

Field = tuple[int, str]
# A type with a question mark is sent even where it is zero. Number 0 is a choice that JSON wraps and
# protocol buffers do not.
_MESSAGES: Mapping[str, Mapping[str, Field]] = {
    "LoginResponse": {"token": (1, "string"), "timeout_s": (2, "uint")},
    "GetMinerDetailsResponse": {
        "uid": (1, "string"),
        "miner_identity": (2, "MinerIdentity"),
        "platform": (3, "uint"),
        "bos_mode": (4, "uint"),
        "bos_version": (5, "BosVersion"),
        "hostname": (6, "string"),
        "mac_address": (7, "string"),
        "system_uptime": (8, "uint"),
        "sticker_hashrate": (9, "GigaHashrate"),
        "bosminer_uptime_s": (10, "uint"),
        "system_uptime_s": (11, "uint"),
        "status": (12, "uint"),
        "kernel_version": (13, "string"),
        "control_board_soc_family": (15, "uint"),
        "serial_number": (16, "string?"),
    },
    "MinerIdentity": {"brand": (1, "uint"), "name": (3, "string"), "miner_model": (4, "string")},
    "BosVersion": {"current": (1, "string"), "major": (2, "string"), "bos_plus": (3, "bool")},
    "GetMinerStatsResponse": {
        "pool_stats": (1, "PoolStats"),
        "miner_stats": (2, "WorkSolverStats"),
        "power_stats": (3, "MinerPowerStats"),
    },
    "MinerPowerStats": {"approximated_consumption": (1, "Power"), "efficiency": (2, "PowerEfficiency")},
    "WorkSolverStats": {
        "real_hashrate": (1, "RealHashrate"),
        "nominal_hashrate": (2, "GigaHashrate"),
        "error_hashrate": (3, "MegaHashrate"),
        "found_blocks": (4, "uint"),
        "best_share": (5, "uint"),
    },
    "RealHashrate": {
        "last_5s": (1, "GigaHashrate"),
        "last_15s": (2, "GigaHashrate"),
        "last_30s": (3, "GigaHashrate"),
        "last_1m": (4, "GigaHashrate"),
        "last_5m": (5, "GigaHashrate"),
        "last_15m": (6, "GigaHashrate"),
        "last_30m": (7, "GigaHashrate"),
        "last_1h": (8, "GigaHashrate"),
        "last_24h": (9, "GigaHashrate"),
        "since_restart": (10, "GigaHashrate"),
    },
    "GetHashboardsResponse": {"hashboards": (1, "Hashboard")},
    "Hashboard": {
        "id": (1, "string"),
        "enabled": (2, "bool"),
        "chips_count": (3, "UInt32Value"),
        "current_voltage": (4, "Voltage"),
        "current_frequency": (5, "Frequency"),
        "highest_chip_temp": (6, "TemperatureSensor"),
        "board_temp": (7, "Temperature"),
        "stats": (8, "WorkSolverStats"),
        "lowest_inlet_temp": (10, "Temperature"),
        "highest_outlet_temp": (11, "Temperature"),
        "serial_number": (12, "string?"),
    },
    "GetCoolingStateResponse": {"fans": (1, "FanState"), "highest_temperature": (2, "TemperatureSensor")},
    "FanState": {"position": (1, "uint?"), "rpm": (2, "uint"), "target_speed_ratio": (3, "double?")},
    "TemperatureSensor": {"id": (1, "uint?"), "location": (2, "uint"), "temperature": (3, "Temperature")},
    "GetTunerStateResponse": {"overall_tuner_state": (1, "uint"), "mode_state": (0, "ModeState")},
    "ModeState": {
        "powertargetmodestate": (2, "PowerTargetModeState"),
        "hashratetargetmodestate": (3, "HashrateTargetModeState"),
    },
    "PowerTargetModeState": {"profile": (1, "PowerTargetProfile"), "current_target": (2, "Power")},
    "HashrateTargetModeState": {
        "profile": (1, "HashrateTargetProfile"),
        "current_target": (2, "TeraHashrate"),
    },
    "PowerTargetProfile": {
        "created": (1, "Timestamp"),
        "target": (2, "Power"),
        "measured_hashrate": (3, "GigaHashrate"),
        "estimated_power_consumption": (4, "Power"),
    },
    "HashrateTargetProfile": {
        "created": (1, "Timestamp"),
        "target": (2, "TeraHashrate"),
        "measured_hashrate": (3, "GigaHashrate"),
        "estimated_power_consumption": (4, "Power"),
    },
    "PerformanceMode": {"tunermode": (2, "TunerPerformanceMode")},
    "TunerPerformanceMode": {"target": (0, "TunerTarget")},
    "TunerTarget": {"powertarget": (1, "PowerTargetMode"), "hashratetarget": (2, "HashrateTargetMode")},
    "PowerTargetMode": {"power_target": (1, "Power")},
    "HashrateTargetMode": {"hashrate_target": (1, "TeraHashrate")},
    "GetPoolGroupsResponse": {"pool_groups": (1, "PoolGroup")},
    "PoolGroup": {"name": (1, "string"), "strategy": (0, "Strategy"), "pools": (4, "Pool")},
    "Strategy": {"quota": (2, "Quota"), "fixedshareratio": (3, "FixedShareRatio")},
    "Pool": {
        "uid": (1, "string"),
        "url": (2, "string"),
        "user": (3, "string"),
        "enabled": (4, "bool"),
        "alive": (5, "bool"),
        "active": (6, "bool"),
        "stats": (7, "PoolStats"),
    },
    "PoolStats": {
        "accepted_shares": (1, "uint"),
        "rejected_shares": (2, "uint"),
        "stale_shares": (3, "uint"),
        "last_difficulty": (4, "uint"),
        "best_share": (5, "uint"),
        "generated_work": (6, "uint"),
        "last_share_time": (7, "Timestamp"),
    },
    "GetMinerConfigurationResponse": {
        "pool_groups": (1, "PoolGroupConfiguration"),
        "temperature": (2, "CoolingConfiguration"),
        "tuner": (3, "TunerConfiguration"),
        "dps": (4, "DpsConfiguration"),
        "hashboard_config": (5, "HashboardPerformanceConfiguration"),
    },
    "PoolGroupConfiguration": {
        "uid": (1, "string"),
        "name": (2, "string"),
        "load_balance_strategy": (0, "LoadBalanceStrategy"),
        "pools": (5, "PoolConfiguration"),
    },
    "LoadBalanceStrategy": {"quota": (3, "Quota"), "fixedshareratio": (4, "FixedShareRatio")},
    "PoolConfiguration": {
        "uid": (1, "string"),
        "url": (2, "string"),
        "user": (3, "string"),
        "password": (4, "string?"),
        "enabled": (5, "bool?"),
    },
    "CoolingConfiguration": {"minimum_required_fans": (1, "uint?"), "mode": (0, "CoolingMode")},
    "CoolingMode": {"auto": (2, "CoolingAutoMode"), "manual": (3, "CoolingManualMode")},
    "CoolingAutoMode": {
        "target_temperature": (1, "Temperature"),
        "hot_temperature": (2, "Temperature"),
        "dangerous_temperature": (3, "Temperature"),
    },
    "CoolingManualMode": {
        "fan_speed_ratio": (1, "double?"),
        "hot_temperature": (2, "Temperature"),
        "dangerous_temperature": (3, "Temperature"),
    },
    "TunerConfiguration": {
        "enabled": (1, "bool?"),
        "tuner_mode": (2, "uint?"),
        "power_target": (3, "Power"),
        "hashrate_target": (4, "TeraHashrate"),
    },
    "DpsConfiguration": {"enabled": (1, "bool?"), "shutdown_enabled": (6, "bool?")},
    "HashboardPerformanceConfiguration": {},
    "GetConstraintsResponse": {"tuner_constraints": (1, "TunerConstraints")},
    "TunerConstraints": {
        "power_target": (1, "PowerConstraints"),
        "hashrate_target": (2, "HashrateConstraints"),
        "enabled": (3, "BooleanConstraint"),
        "default_mode": (4, "uint"),
    },
    "PowerConstraints": {"default": (1, "Power"), "min": (2, "Power"), "max": (3, "Power")},
    "HashrateConstraints": {
        "default": (1, "TeraHashrate"),
        "min": (2, "TeraHashrate"),
        "max": (3, "TeraHashrate"),
    },
    "BooleanConstraint": {"default": (1, "bool")},
    "LocateDeviceStatusResponse": {"enabled": (1, "bool")},
    "PauseMiningResponse": {"already_paused": (1, "bool")},
    "ResumeMiningResponse": {"already_mining": (1, "bool")},
    "SetPowerTargetResponse": {"power_target": (1, "Power")},
    "Power": {"watt": (1, "uint")},
    "PowerEfficiency": {"joule_per_terahash": (1, "double")},
    "MegaHashrate": {"megahash_per_second": (1, "double")},
    "GigaHashrate": {"gigahash_per_second": (1, "double")},
    "TeraHashrate": {"terahash_per_second": (1, "double")},
    "Temperature": {"degree_c": (1, "double")},
    "Frequency": {"hertz": (1, "double")},
    "Voltage": {"volt": (1, "double")},
    "Quota": {"value": (1, "uint")},
    "FixedShareRatio": {"value": (1, "double")},
    "Timestamp": {"seconds": (1, "uint"), "nanos": (2, "uint")},
}


def encode(message: str, document: Mapping[str, Any]) -> bytes:
    """A document as the message of that name; what the message has no number for is left out."""
    fields = _MESSAGES[message]
    parts: list[bytes] = []
    for name, value in document.items():
        if name not in fields or value is None:
            continue
        number, kind = fields[name]
        if number == 0:
            parts.append(encode(kind, value))
        else:
            parts += [_field(number, kind, item) for item in (value if isinstance(value, list) else [value])]
    return b"".join(parts)


def decode(raw: bytes) -> dict[int, int | bytes]:
    """Field by number, the last of each; numbers as int, anything with a length as bytes.

    Raises:
        ValueError: not a message.
    """
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            fields[number], at = _read_varint(raw, at)
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length, at = _read_varint(raw, at)
        if length is None or at + length > len(raw):
            raise ValueError("not a message")
        fields[number] = raw[at : at + length]
        at += length
    return fields


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind == "UInt32Value":
        return _long(number, _field(1, "uint", value))
    if kind in _MESSAGES:
        return _long(number, encode(kind, value))
    if not value and not kind.endswith("?"):
        return b""
    match kind.rstrip("?"):
        case "string":
            return _long(number, value.encode())
        case "double":
            return _varint(number << 3 | 1) + struct.pack("<d", value)
        case _:
            return _varint(number << 3) + _varint(int(value))


def _long(number: int, raw: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    raw = bytearray()
    while value > 0x7F:
        raw.append(value & 0x7F | 0x80)
        value >>= 7
    raw.append(value)
    return bytes(raw)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            break
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("not a message")
