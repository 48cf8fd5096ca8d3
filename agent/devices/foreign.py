"""Every other make (Avalon, Bitaxe, ePIC, Auradine ...), read-only, through the library pyasic_rs.

Its write path is not used: it knows no journal, no read-back and no bounds of ours. Nor is it let near a
Whatsminer, where it opens the write API by itself when a request is refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from agent.clock import Clock
from agent.devices.antminer.fields import celsius, fan_speed, mac, positive, scaled, seconds
from agent.devices.device import Applied, Capabilities, Endpoint, Identity, PoolsApplied
from agent.devices.identify import identify_family
from agent.devices.numbers import count, number, text
from agent.errors import DeviceError, InputError, Malformed, Timeout, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.hardware.catalogue import find
from agent.pools.guard import PermittedPools, shown
from agent.reading import Board, MinerError, Pool, Reading

FAMILY = "pyasic-rs"
_FILE = "pyasic_rs.json"
_TO_THS = {"H/s": 1e-12, "KH/s": 1e-9, "MH/s": 1e-6, "GH/s": 1e-3, "TH/s": 1.0, "PH/s": 1e3, "EH/s": 1e6}
_SEVERITIES = {"info": "info", "warning": "warning", "error": "critical", "critical": "critical"}
_LIMIT = 64
_T = TypeVar("_T")
Json = Mapping[str, Any]


class Foreign:
    """One miner of a make that has no driver here. Fulfils `Device`; nothing can be set.

    Args:
        endpoint: the address; the library knows the ports.
    """

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._miner: Any = None

    async def identify(self) -> Identity:
        """See `Device.identify`."""
        reading = await self.read()
        return Identity.of(FAMILY, reading, reading.model)

    async def read(self) -> Reading:
        """See `Device.read`; how many requests it takes is the library's choice."""
        found = await self.document()
        return _reading(found, self.endpoint.address, self._clock)

    async def document(self) -> Json:
        """What the library makes of the miner, as plain JSON values.

        Raises:
            Unsupported: the library is not installed, or the miner has a driver of its own.
            DeviceError: the miner cannot be read.
        """
        try:
            if self._miner is None:
                self._miner = await self._within(self._open())
            data = await self._within(self._miner.get_data())
            found: dict[str, Any] = data.model_dump()
        except DeviceError:
            self._miner = None
            raise
        except Exception as error:
            # What the library raises is not documented; none of it may end a cycle.
            self._miner = None
            problem = f"pyasic_rs: {type(error).__name__}: {str(error)[:200]}"
            raise Malformed(self.endpoint.address, problem) from error
        return found

    async def capabilities(self) -> Capabilities:
        """Nothing can be set."""
        return Capabilities((), writable=False, remedy="this make is read only")

    async def apply(self, setting: PermittedSetting) -> Applied:
        """Always refused.

        Raises:
            Unsupported: this make is only read.
        """
        raise Unsupported(self.endpoint.address, f"{setting.setting}: this make is only read")

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """Always refused.

        Raises:
            Unsupported: this make is only read.
        """
        raise Unsupported(self.endpoint.address, "this make is only read; pools are not written")

    async def _open(self) -> Any:
        address = self.endpoint.address
        try:
            from pyasic_rs import MinerFactory
        except ImportError as error:
            remedy = "pip install 'hashmargin[foreign]'"
            raise Unsupported(address, f"other makes need the extra `foreign`: {remedy}") from error
        await self._refuse_own()
        miner = await MinerFactory().get_miner(address)
        if miner is None:
            raise Unreachable(address, "pyasic_rs recognises no miner there")
        return miner

    async def _refuse_own(self) -> None:
        """Stop before the library sends a byte to a miner that we drive ourselves."""
        try:
            own = await identify_family(self.endpoint, self._clock)
        except (Unsupported, Unreachable):
            return
        raise Unsupported(self.endpoint.address, f"has a driver of its own: set its family to {own}")

    async def _within(self, what: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self.endpoint.deadline_s):
                return await what
        except TimeoutError as error:
            words = f"pyasic_rs: no whole answer within {self.endpoint.deadline_s:g} s"
            raise Timeout(self.endpoint.address, words) from error


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """What the library makes of the miner; raw replies are not to be had from it.

    Raises:
        DeviceError: the miner cannot be read.
    """
    found = await Foreign(endpoint, clock).document()
    return {_FILE: json.dumps(found, default=_plain, indent=1).encode()}


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """The Reading of a captured document.

    Raises:
        Malformed: it is not such a document.
        InputError: the file is missing.
    """
    if _FILE not in replies:
        raise InputError(f"expected the file {_FILE}")
    try:
        found = json.loads(replies[_FILE])
    except (ValueError, RecursionError) as error:
        raise Malformed(address or "file", f"{_FILE} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Malformed(address or "file", f"{_FILE}: expected an object")
    return _reading(found, address, None)


def _plain(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def _reading(data: Json, address: str | None, clock: Clock | None) -> Reading:
    info = _object(data.get("device_info"))
    model = text(info.get("model"))
    profile = find(model) if model is not None else None
    boards = tuple(_board(board) for board in _rows(data.get("hashboards")))
    pools = tuple(_pool(pool) for group in _rows(data.get("pools")) for pool in _rows(group.get("pools")))
    watts = positive(number(data.get("wattage")))
    firmware = text(info.get("firmware"))
    mining = data.get("is_mining")
    chips = [b.chip_temp_c for b in boards if b.chip_temp_c is not None]
    temperatures = [b.board_temp_c for b in boards if b.board_temp_c is not None]
    fans = [fan_speed(fan.get("rpm")) for fan in _rows(data.get("fans"))]
    # Some makes count once for the whole miner and show that figure at every pool.
    counts = list(dict.fromkeys((pool.accepted, pool.rejected) for pool in pools))
    return Reading(
        mac=mac(data.get("mac")),
        serial=text(data.get("serial_number")),
        address=address,
        vendor=(text(info.get("make")) or "").lower() or None,
        model=profile.key if profile is not None else model,
        firmware=firmware.lower() if firmware is not None else None,
        firmware_version=text(data.get("firmware_version")),
        observed_at=clock.now() if clock is not None else None,
        hashrate_ths=_ths(data.get("hashrate")),
        hashrate_expected_ths=_ths(data.get("expected_hashrate")),
        power_w=watts,
        power_source="firmware_estimate" if watts is not None else None,
        is_hashing=mining if isinstance(mining, bool) else None,
        chip_temp_c=max(chips, default=None),
        board_temp_c=max(temperatures, default=None),
        fan_rpm=tuple(rpm for rpm in fans if rpm is not None) or None,
        boards=boards or None,
        uptime_s=_seconds(data.get("uptime")),
        shares_accepted=_sum(counts, 0),
        shares_rejected=_sum(counts, 1),
        pools=pools or None,
        errors=tuple(_error(message) for message in _rows(data.get("messages"))) or None,
    )


def _board(row: Json) -> Board:
    rate, chips = _ths(row.get("hashrate")), count(row.get("working_chips"))
    state = None if rate is None else "hashing" if rate > 0.0 else "idle"
    return Board(
        index=count(row.get("position")) or 0,
        hashrate_ths=rate,
        chips=chips,
        chips_expected=count(row.get("expected_chips")),
        chip_temp_c=celsius(row.get("outlet_chip_temperature")),
        board_temp_c=celsius(row.get("board_temperature")),
        frequency_mhz=positive(number(row.get("frequency"))),
        serial=text(row.get("serial_number")),
        state="missing" if chips == 0 else state,
    )


def _pool(row: Json) -> Pool:
    alive, active = row.get("alive"), row.get("active")
    return Pool(
        url=shown(text(row.get("url")) or ""),
        user=text(row.get("user")),
        state=None if not isinstance(alive, bool) else "alive" if alive else "dead",
        active=active if isinstance(active, bool) else None,
        priority=count(row.get("position")),
        accepted=count(row.get("accepted_shares")),
        rejected=count(row.get("rejected_shares")),
    )


def _error(row: Json) -> MinerError:
    severity = str(row.get("severity")).rsplit(".", 1)[-1].lower()
    return MinerError(
        code=text(row.get("code")) or "?", text=text(row.get("message")), severity=_SEVERITIES.get(severity)
    )


def _ths(value: object) -> float | None:
    found = _object(value)
    rate, scale = number(found.get("value")), _TO_THS.get(str(found.get("unit")))
    return None if rate is None or scale is None else scaled(rate, scale)


def _seconds(value: object) -> float | None:
    return seconds(value.total_seconds() if isinstance(value, timedelta) else value)


def _sum(counts: list[tuple[int | None, int | None]], place: int) -> int | None:
    known = [value for pair in counts if (value := pair[place]) is not None]
    return sum(known) if known else None


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _rows(value: object) -> list[Json]:
    return [row for row in value[:_LIMIT] if isinstance(row, dict)] if isinstance(value, list) else []
