"""What can be wrong with a simulated miner on the wire; the farm file names these switches.

Physical faults belong to the machine; the two that come and go with a switch are passed on to it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from agent.errors import InputError

_GARBAGE_BYTES = 600
_DRIP_BYTES = 16
_DRIP_INTERVAL_S = 0.05
_DRIP_LIMIT_S = 60.0
HANG_LIMIT_S = 120.0
SHARED_MAC = "02:00:00:00:00:01"
_REFUSALS = {14: "Invalid command", 23: "Invalid JSON", 45: "Access denied"}


@dataclass(frozen=True, slots=True)
class Faults:
    """Fault switches of one peer; all off by default.

    Args:
        unplugged: nothing listens, connections are refused.
        hang: every port accepts and never answers.
        zombie: the 4028 API accepts and never answers while the web pages live.
        web_dead: the web port is closed while 4028 lives.
        garbage: seeded random bytes instead of any reply.
        slow_drip: replies trickle at about 320 bytes a second.
        cut_mid_json: the JSON stops in the middle.
        extra_nul: a NUL byte and a newline follow the JSON.
        http_500_on_conf: `get_miner_conf.cgi` answers 500.
        login_loop: every web page answers 401 whatever the credentials.
        stale_nonce: every digest nonce is stale at its second use.
        config_locked: `set_miner_conf.cgi` says "request busy" for ever.
        ack_without_effect: writes are acknowledged and change nothing.
        closed_write_api: the write API is closed whatever the options say.
        token_expired: Whatsminer v2 says 135 to every token.
        token_limit: Whatsminer v2 says 136 to every request for a token.
        unknown_power: the power field holds the firmware's "unknown" value, or is gone.
        broken_error_list: Whatsminer `get_error_code` is the invalid JSON of v2.0.4.
        broken_psu: `get_psu` lacks the comma before `temp0`.
        process_down: Whatsminer reports "btminer process is down" instead of data.
        restarting: the mining process is on its way up: 4028 and 6060 of an Antminer refuse, its pages show
            empty lists, a Whatsminer says that its process is down. At its end the process starts anew.
        missing_board: the first board that is there is gone, from the figures and from the power.
        missing_comma: the first `},{` of every JSON reply has lost its comma.
        refuse_code: every JSON reply of the APIs is this error code instead: 14, 23 or 45; 0 is off.
        frozen: the figures stay what they were when this was switched on.
        shared_mac: the miner reports one and the same MAC as every other with this fault.
        clock_skew_s: seconds that the miner's own clock is ahead.
        effect_delay_s: seconds on the machine's clock from acknowledgement to effect.
        seed: seeds the garbage.
    """

    unplugged: bool = False
    hang: bool = False
    zombie: bool = False
    web_dead: bool = False
    garbage: bool = False
    slow_drip: bool = False
    cut_mid_json: bool = False
    extra_nul: bool = False
    http_500_on_conf: bool = False
    login_loop: bool = False
    stale_nonce: bool = False
    config_locked: bool = False
    ack_without_effect: bool = False
    closed_write_api: bool = False
    token_expired: bool = False
    token_limit: bool = False
    unknown_power: bool = False
    broken_error_list: bool = False
    broken_psu: bool = False
    process_down: bool = False
    restarting: bool = False
    missing_board: bool = False
    missing_comma: bool = False
    refuse_code: int = 0
    frozen: bool = False
    shared_mac: bool = False
    clock_skew_s: float = 0.0
    effect_delay_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.effect_delay_s <= 86_400.0:
            raise InputError(f"effect_delay_s must be 0 to 86400, got {self.effect_delay_s}")
        if self.refuse_code and self.refuse_code not in _REFUSALS:
            raise InputError(f"refuse_code must be one of {sorted(_REFUSALS)}, got {self.refuse_code}")
        if not abs(self.clock_skew_s) <= 1e9:
            raise InputError(f"clock_skew_s must be within 1e9, got {self.clock_skew_s}")

    @classmethod
    def switches(cls) -> tuple[str, ...]:
        """Names a farm file may use."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Faults:
        """Faults from the `faults` mapping of a farm file.

        Raises:
            InputError: a name is not a switch, or its value has the wrong type.
        """
        checked: dict[str, bool | int | float] = {}
        known: dict[str, type] = {field.name: type(field.default) for field in fields(cls)}
        for name, value in values.items():
            kind = known.get(name)
            if kind is None:
                raise InputError(f"unknown fault {name!r}; known: {', '.join(cls.switches())}")
            if kind is bool:
                if not isinstance(value, bool):
                    raise InputError(f"fault {name} must be true or false, got {value!r}")
                checked[name] = value
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"fault {name} must be a number, got {value!r}")
            else:
                checked[name] = int(value) if kind is int else float(value)
        return cls(**checked)  # type: ignore[arg-type]

    def spoil_json(self, body: bytes) -> bytes:
        """The reply's JSON as this miner really sends it."""
        if self.refuse_code:
            said = _REFUSALS[self.refuse_code]
            status = {"STATUS": "E", "When": 0, "Code": self.refuse_code, "Msg": said}
            body = json.dumps({"STATUS": [status], "id": 1}).encode()
        if self.missing_comma:
            body = body.replace(b"},{", b"}{", 1)
        if self.cut_mid_json:
            return body[: max(1, len(body) // 2)]
        if self.extra_nul:
            return body + b"\x00\n"
        return body

    def garbage_bytes(self) -> bytes:
        """Random bytes, the same for the same seed."""
        return np.random.default_rng(self.seed).bytes(_GARBAGE_BYTES)


NO_FAULTS = Faults()


async def send(writer: asyncio.StreamWriter, payload: bytes, faults: Faults) -> None:
    """Write `payload` whole, or in drips that stop after a minute."""
    if not faults.slow_drip:
        writer.write(payload)
        await writer.drain()
        return
    drips = int(_DRIP_LIMIT_S / _DRIP_INTERVAL_S)
    for start in range(0, min(len(payload), drips * _DRIP_BYTES), _DRIP_BYTES):
        writer.write(payload[start : start + _DRIP_BYTES])
        await writer.drain()
        await asyncio.sleep(_DRIP_INTERVAL_S)


async def hang(reader: asyncio.StreamReader) -> None:
    """Swallow what the client says and never answer, for two minutes at most."""
    try:
        async with asyncio.timeout(HANG_LIMIT_S):
            while await reader.read(4096):
                pass
    except TimeoutError:
        return
