"""One site's miners as the agent knows them: configuration joined with what each unit says of itself.

It owns the slow facts (capabilities) and the bounds made from them; reading is `agent.poller`'s work.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from agent.clock import Clock
from agent.config import MinerConfig, Mode, SiteConfig
from agent.devices.device import Capabilities, Device, Endpoint
from agent.devices.families import FAMILIES
from agent.errors import DeviceError, Unreachable
from agent.fleet import Unit
from agent.hardware.bounds import Bounds
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds, overrides_for
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import current_setting, safe_setting
from agent.planner.candidates import Choices
from agent.poller import Poller, PollTarget
from agent.reading import Reading
from agent.setting import Setting
from agent.telemetry import PollResult

log = logging.getLogger(__name__)
_CAPABILITIES_EVERY_S = 6 * 3600.0
_CAPABILITIES_RETRY_S = 900.0


@dataclass(slots=True)
class Member:
    """What is known of one configured miner.

    `miner_id` is the address until the miner has told its MAC; `reading` is the last good one, kept to
    know what the unit is, never shown as current.
    """

    config: MinerConfig
    miner_id: str
    endpoint: Endpoint
    profile: HardwareProfile | None = None
    reading: Reading | None = None
    capabilities: Capabilities | None = None
    capabilities_due_s: float = float("-inf")
    error: DeviceError | None = None
    doubled: bool = False


class Site:
    """The miners of one site, in the order of the site file.

    Raises:
        ConfigError: on creation, if a login's secret cannot be read or an override widens bounds.
    """

    def __init__(self, config: SiteConfig, catalogue: Catalogue, clock: Clock) -> None:
        self._config = config
        self._catalogue = catalogue
        self._clock = clock
        self.members = [self._member(miner) for miner in config.miners]
        self._by_id = {member.miner_id: member for member in self.members}
        targets = [
            PollTarget(member.miner_id, member.endpoint, member.config.family) for member in self.members
        ]
        # A fast clock leaves less wall time for a round.
        spread_s = config.poll.spread_s / max(1.0, clock.factor)
        self.poller = Poller(targets, clock, config.poll.concurrency, spread_s)

    def learn(self, results: Sequence[PollResult]) -> list[str]:
        """Take in one poll of every miner, in order. Returns MACs that more than one address reports."""
        owners: dict[str, list[Member]] = {}
        for member, result in zip(self.members, results, strict=True):
            member.error = result.error
            reading = result.reading
            if reading is None:
                continue
            member.reading = reading
            if member.config.model is None and reading.model is not None:
                member.profile = self._catalogue.find(reading.model)
            if reading.mac is not None:
                owners.setdefault(reading.mac, []).append(member)
        for mac, members in owners.items():
            for member in members:
                member.doubled = len(members) > 1
            if len(members) == 1 and members[0].config.id is None and members[0].miner_id != mac:
                for other in self.members:
                    if other.miner_id == mac and other.config.id is None:
                        # The unit has moved; who answers at its old address is not known yet.
                        other.miner_id = other.config.address
                members[0].miner_id = mac
        self._by_id = {member.miner_id: member for member in self.members}
        return sorted(mac for mac, members in owners.items() if len(members) > 1)

    async def refresh_capabilities(self, limit: int) -> None:
        """Ask up to `limit` miners whose slow facts are due what they can be set to."""
        now_s = self._clock.now().timestamp()
        due = [
            m
            for m in self.members
            if m.reading is not None and m.error is None and m.capabilities_due_s <= now_s
        ]
        for member in due[:limit]:
            try:
                async with self.exclusive(member.miner_id) as device:
                    member.capabilities = await device.capabilities()
                member.capabilities_due_s = now_s + _CAPABILITIES_EVERY_S
            except DeviceError as error:
                member.capabilities_due_s = now_s + _CAPABILITIES_RETRY_S
                log.info("%s: capabilities unknown: %s", member.miner_id, error)

    def exclusive(self, miner_id: str) -> AbstractAsyncContextManager[Device]:
        """The miner's driver, for the calling task alone.

        Raises:
            DeviceError: no miner goes by that id now, or its family cannot be found out.
        """
        member = self._by_id.get(miner_id)
        if member is None:
            raise Unreachable(miner_id, "no miner of the site goes by this id now")
        return self.poller.exclusive(member.endpoint)

    def bounds(self, miner_id: str) -> tuple[Bounds, ...]:
        """Profile ∩ firmware-reported range ∩ site override; nothing for a miner of unknown model."""
        member = self._by_id.get(miner_id)
        if member is None:
            return ()
        firmware = self.firmware(member)
        if member.profile is None or firmware is None or member.doubled:
            return ()
        if member.capabilities is not None and member.capabilities.writable is False:
            return ()
        overrides = overrides_for(self._config, member.config, member.profile.key)
        return effective_bounds(member.profile, firmware, member.capabilities, overrides)

    def units(self) -> tuple[Unit, ...]:
        """The fleet for frames and features, in order."""
        return tuple(self._unit(member) for member in self.members)

    def choices(self) -> list[Choices]:
        """What each miner may be set to now, for the planner, in order."""
        return [self._choice(member) for member in self.members]

    def mode(self, member: Member) -> Mode:
        """observe, propose or apply for one miner."""
        return self._config.mode_of(member.config, member.profile.key if member.profile is not None else None)

    def firmware(self, member: Member) -> str | None:
        """`stock`, `luxos` ...: from the last reading, else from the configured family."""
        if member.reading is not None and member.reading.firmware is not None:
            return member.reading.firmware
        family = FAMILIES.get(member.config.family or "")
        return family.firmware if family is not None else None

    def setting(self, member: Member, reading: Reading | None) -> Setting | None:
        """What the firmware says is set, as a setting of this model."""
        firmware = self.firmware(member)
        if member.profile is None or firmware is None or reading is None:
            return None
        return current_setting(member.profile, firmware, reading)

    def find(self, miner_id: str) -> Member | None:
        """The member of that id."""
        return self._by_id.get(miner_id)

    def _member(self, miner: MinerConfig) -> Member:
        profile = self._catalogue.find(miner.model) if miner.model is not None else None
        return Member(miner, miner.id or miner.address, self._config.endpoint(miner), profile)

    def _choice(self, member: Member) -> Choices:
        firmware = self.firmware(member)
        bounds = self.bounds(member.miner_id)
        nominal = None
        if member.profile is not None and firmware is not None:
            nominal = safe_setting(member.profile, firmware, bounds)
        current = self.setting(member, member.reading) if member.error is None else None
        return Choices(member.profile, firmware, bounds, current, nominal)

    def _unit(self, member: Member) -> Unit:
        profile = member.profile
        rated_hashrate, rated_power = float("nan"), float("nan")
        if profile is not None:
            rated_hashrate, rated_power = rated(profile, member.reading)
        return Unit(
            miner_id=member.miner_id,
            address=member.config.address,
            family=member.config.family,
            profile=profile,
            firmware=self.firmware(member),
            rated_hashrate_ths=rated_hashrate,
            rated_power_w=rated_power,
            tags=tuple(member.config.tags),
        )


def rated(profile: HardwareProfile, reading: Reading | None) -> tuple[float, float]:
    """Rated TH/s and W of a unit: of the bin nearest to what its firmware expects, else of the model."""
    expected = reading.hashrate_expected_ths if reading is not None else None
    if expected is None or not profile.bins:
        return profile.rated_hashrate_ths.value, profile.rated_power_w.value
    nearest = min(profile.bins, key=lambda b: abs(b.hashrate_ths - expected))
    return nearest.hashrate_ths, nearest.power_w
