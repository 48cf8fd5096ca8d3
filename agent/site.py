"""One site's miners as the agent knows them: configuration joined with what each unit says of itself.

It owns the slow facts (capabilities) and the bounds made from them; reading is `agent.polling.poller`'s work.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from agent.clock import Clock
from agent.config import MinerConfig, Mode, PortsConfig, SiteConfig
from agent.devices.device import Capabilities, Device, Endpoint
from agent.devices.families import FAMILIES
from agent.errors import DeviceError, Unreachable, WrongMiner
from agent.fleet import Unit
from agent.hardware.bounds import Bounds
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds, overrides_for
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import current_setting, safe_setting
from agent.mac_address import normalise_mac
from agent.planner.candidates import Choices
from agent.polling.mac_watch import Judged, Post, mac_contradictions
from agent.polling.poller import Poller, PollTarget, was_silent
from agent.reading import Reading
from agent.setting import Setting
from agent.telemetry import PollResult

log = logging.getLogger(__name__)
_CAPABILITIES_EVERY_S = 6 * 3600.0
_CAPABILITIES_RETRY_S = 900.0
_PROOF_EVERY_S = 900.0
_PROOF_RETRY_S = 300.0
_PROOFS_PER_ROUND = 50


@dataclass(slots=True)
class Member:
    """What is known of one configured miner.

    `miner_id` is the configured id, else the MAC, else the address until the miner has told its MAC;
    `reading` is the last good one, kept to know what the unit is, never shown as current. `config.address`
    follows the miner where addresses were exchanged on the network. `stranger`: another machine answers, or
    may, at its address; `doubled`: another address reports the same MAC.
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
    stranger: bool = False
    proof_due_s: float = float("-inf")


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

    def posts(self) -> list[Post]:
        """Who must answer where, in order."""
        return [Post(m.miner_id, m.config.mac, m.config.address, _may_move(m.config)) for m in self.members]

    async def prove(self, results: Sequence[PollResult]) -> dict[int, str]:
        """Ask miners with a configured MAC who they are, some in each round: place -> MAC that answered.

        Readings alone do not do: a driver repeats the MAC it once asked for, and some read another make's
        answers as their own. One that fell out, came back or restarted is asked at once, and so are those
        whose MACs begin to contradict each other.
        """
        now_s = self._clock.now().timestamp()
        due = [
            i
            for i, (member, result) in enumerate(zip(self.members, results, strict=True))
            if member.config.mac is not None and _proof_is_due(member, result, now_s)
        ]
        due.sort(key=lambda i: self.members[i].proof_due_s)
        most = max(_PROOFS_PER_ROUND, len(self.members) // 20)
        proofs = await self._who(due[:most], now_s)
        contradicting = mac_contradictions(self.posts(), results, proofs)
        fresh = [
            i
            for i in sorted(contradicting - set(due[:most]))
            if not (self.members[i].doubled or self.members[i].stranger or was_silent(results[i].error))
        ]
        return proofs | await self._who(fresh[:most], now_s)

    async def _who(self, places: Sequence[int], now_s: float) -> dict[int, str]:
        async def one(i: int) -> str | None:
            try:
                told = (await self.poller.who(i)).mac
            except DeviceError as error:
                log.info("%s: who answers there is not known: %s", self.members[i].miner_id, error)
                told = None
            mac = normalise_mac(told) if told is not None else None
            self.members[i].proof_due_s = now_s + (_PROOF_EVERY_S if mac is not None else _PROOF_RETRY_S)
            return mac

        answers = await asyncio.gather(*(one(i) for i in places))
        return {i: mac for i, mac in zip(places, answers, strict=True) if mac is not None}

    def heed(self, judged: Judged) -> None:
        """Take in what a round said about MACs: where nothing may be written, and who is asked elsewhere."""
        for i, member in enumerate(self.members):
            member.stranger, member.doubled = i in judged.strangers, i in judged.doubled
        for i in judged.relearn:
            self.poller.forget(i)
            self.members[i].proof_due_s = float("-inf")
        endpoints = {i: replace(self.members[i].endpoint, address=to) for i, to in judged.moves.items()}
        # While a command is on its way to one of them it waits for the next round.
        if endpoints and self.poller.rebind(endpoints):
            for i, endpoint in endpoints.items():
                member = self.members[i]
                member.endpoint = endpoint
                member.config = member.config.model_copy(update={"address": endpoint.address})

    def learn(self, results: Sequence[PollResult]) -> None:
        """Take in one poll of every miner, in order."""
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
            if len(members) == 1 and members[0].config.id is None and members[0].miner_id != mac:
                for other in self.members:
                    if other.miner_id == mac and other.config.id is None:
                        # The unit has moved; who answers at its old address is not known yet.
                        other.miner_id = other.config.address
                members[0].miner_id = mac
        self._by_id = {member.miner_id: member for member in self.members}

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

    @asynccontextmanager
    async def exclusive(self, miner_id: str) -> AsyncIterator[Device]:
        """The miner's driver, for the calling task alone. One with a configured MAC has just shown it.

        Raises:
            WrongMiner: another machine answers at its address, or none that tells its MAC.
            DeviceError: no miner goes by that id now, or its family cannot be found out.
        """
        member = self._by_id.get(miner_id)
        if member is None:
            raise Unreachable(miner_id, "no miner of the site goes by this id now")
        async with self.poller.exclusive(member.endpoint) as device:
            if member.config.mac is not None:
                # Readings repeat a MAC that was asked for up to an hour ago.
                await _must_be(member.config.mac, device)
            yield device

    def bounds(self, miner_id: str) -> tuple[Bounds, ...]:
        """Profile ∩ firmware-reported range ∩ site override; nothing for a miner of unknown model."""
        member = self._by_id.get(miner_id)
        if member is None:
            return ()
        firmware = self.firmware(member)
        if member.profile is None or firmware is None or member.doubled or member.stranger:
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
        return Member(miner, miner.id or miner.mac or miner.address, self._config.endpoint(miner), profile)

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


async def _must_be(mac: str, device: Device) -> None:
    told = (await device.identify()).mac
    found = normalise_mac(told) if told is not None else None
    if found != mac:
        who = f"MAC {found} answers" if found is not None else "a machine that tells no MAC answers"
        raise WrongMiner(device.endpoint.address, f"{who} here instead of MAC {mac}; nothing was sent to it")


def _proof_is_due(member: Member, result: PollResult, now_s: float) -> bool:
    if was_silent(result.error) or isinstance(result.error, Unreachable):
        return False
    if member.proof_due_s <= now_s or member.proof_due_s > now_s + _PROOF_EVERY_S:
        return True
    changed = (result.error is None) != (member.error is None)
    if changed and member.reading is not None and not member.stranger:
        return True
    before = member.reading.uptime_s if member.reading is not None else None
    after = result.reading.uptime_s if result.reading is not None else None
    return before is not None and after is not None and after < before


def _may_move(config: MinerConfig) -> bool:
    """False where a person tied the miner to a host name or to ports of its own."""
    try:
        ipaddress.ip_address(config.address)
    except ValueError:
        return False
    return config.ports == PortsConfig()


def rated(profile: HardwareProfile, reading: Reading | None) -> tuple[float, float]:
    """Rated TH/s and W of a unit: of the bin nearest to what its firmware expects, else of the model."""
    expected = reading.hashrate_expected_ths if reading is not None else None
    if expected is None or not profile.bins:
        return profile.rated_hashrate_ths.value, profile.rated_power_w.value
    nearest = min(profile.bins, key=lambda b: abs(b.hashrate_ths - expected))
    return nearest.hashrate_ths, nearest.power_w
