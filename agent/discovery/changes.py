"""What a search means for the inventory: which entry each miner belongs to, and every difference, typed.

Pure: nothing is read or written here. In doubt an entry stays as it is and the doubt is reported.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.devices.families import FAMILIES
from agent.discovery.ranges import Ranges
from agent.discovery.scan import Found
from agent.hardware.catalogue import Catalogue
from agent.miner_config import MinerConfig

Kind = Literal["added", "moved", "identified", "firmware", "unverified", "unclear", "conflict", "not_seen"]
Scalars = dict[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between the inventory and the network.

    Args:
        kind: added: a new miner. moved: the same MAC at another address. identified: an entry without MAC
            got it. firmware: the same MAC runs another firmware. unverified: a miner answers at an entry's
            address and tells no MAC. unclear: a host shows the marks of a miner and does not say who it is.
            conflict: two things claim one place or one MAC. not_seen: an entry that nobody answered for.
        miner: the entry's id, else its address; None for a host that is no entry.
        written: True where the file is to change.
    """

    kind: Kind
    miner: str | None
    address: str
    mac: str | None
    detail: str
    written: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, and everything worth telling.

    Args:
        updates: place in the list of entries -> values to set.
        additions: new entries, in the order of their keys.
    """

    changes: tuple[Change, ...]
    updates: dict[int, Scalars] = field(default_factory=dict)
    additions: tuple[Scalars, ...] = ()
    unchanged: int = 0


def plan_changes(
    entries: Sequence[MinerConfig],
    found: Sequence[Found],
    catalogue: Catalogue,
    *,
    searched: Ranges | None,
    api_port: int = 4028,
) -> Plan:
    """Match miners with entries: by MAC, and by address only where one of the two has none.

    Args:
        entries: the inventory as it stands.
        searched: the ranges of a search that came to its end; None reports no absences.
        api_port: the port that was searched. Entries on others are never matched by address.
    """
    return _Matching(entries, found, catalogue, searched, api_port).plan()


class _Matching:
    """The state of one match."""

    def __init__(
        self,
        entries: Sequence[MinerConfig],
        found: Sequence[Found],
        catalogue: Catalogue,
        searched: Ranges | None,
        api_port: int,
    ) -> None:
        self._entries = entries
        self._catalogue = catalogue
        self._searched = searched
        self._api_port = api_port
        self._by_mac = {entry.mac: i for i, entry in enumerate(entries) if entry.mac is not None}
        self._by_address = {
            _place(entry.address): i for i, entry in enumerate(entries) if entry.ports.api == api_port
        }
        self._names = {entry.id.lower() for entry in entries if entry.id is not None}
        self._changes: list[Change] = []
        self._updates: dict[int, Scalars] = {}
        self._additions: list[Scalars] = []
        # Entries that somebody answered for, and those that a conflict is reported for.
        self._met: set[int] = set()
        self._touched: set[int] = set()
        holders: dict[str, list[Found]] = {}
        for miner in found:
            if miner.mac is not None:
                holders.setdefault(miner.mac, []).append(miner)
        self._doubled = {mac: miners for mac, miners in holders.items() if len(miners) > 1}
        self._single = {mac: miners[0] for mac, miners in holders.items() if len(miners) == 1}
        self._nameless = [miner for miner in found if miner.mac is None]

    def plan(self) -> Plan:
        self._report_doubled()
        known = {mac: miner for mac, miner in self._single.items() if mac in self._by_mac}
        self._place_known(known)
        for mac, miner in self._single.items():
            if mac not in known:
                self._place_unknown(mac, miner)
        for miner in self._nameless:
            self._place_nameless(miner)
        self._report_absent()
        same = len(self._met - self._touched)
        return Plan(tuple(self._changes), self._updates, tuple(self._additions), same)

    def _report_doubled(self) -> None:
        for mac, miners in self._doubled.items():
            where = ", ".join(miner.address for miner in miners)
            words = f"MAC {mac} answers at {where} at the same time; none of them is taken for a miner"
            entry = self._by_mac.get(mac)
            claimed = [self._by_address.get(_place(miner.address)) for miner in miners]
            for i in {entry, *claimed} - {None}:
                assert i is not None
                self._met.add(i)
                self._touched.add(i)
            self._tell("conflict", entry, miners[0].address, mac, words, written=False)

    def _place_known(self, known: dict[str, Found]) -> None:
        """Entries whose MAC was found. One may take an address only if its holder leaves it."""
        leaving = {
            self._by_mac[mac]: miner
            for mac, miner in known.items()
            if _place(miner.address) != _place(self._entries[self._by_mac[mac]].address)
        }
        for i in [i for i in leaving if not self._may_move(i)]:
            del leaving[i]
        blocked: dict[int, int] = {}
        while True:
            newly = {}
            for i, miner in leaving.items():
                holder = self._by_address.get(_place(miner.address))
                if holder is not None and holder not in leaving:
                    newly[i] = holder
            if not newly:
                break
            blocked |= newly
            for i in newly:
                del leaving[i]
        for mac, miner in known.items():
            i = self._by_mac[mac]
            self._met.add(i)
            if i in blocked:
                holder = blocked[i]
                self._touched.add(i)
                words = (
                    f"{self._name(i)} answers at {miner.address}, which stands as {self._name(holder)}, and "
                    f"that one was not found elsewhere; correct or remove one of the two"
                )
                self._tell("conflict", i, miner.address, mac, words, written=False)
                continue
            if i in leaving:
                old = self._entries[i].address
                self._set(i, "address", miner.address)
                self._tell("moved", i, miner.address, mac, f"from {old} to {miner.address}", written=True)
            self._compare_firmware(i, miner)

    def _may_move(self, i: int) -> bool:
        """False for an entry that a person tied to a host name or to ports of its own."""
        entry = self._entries[i]
        return _is_number(entry.address) and entry.ports.api == self._api_port

    def _place_unknown(self, mac: str, miner: Found) -> None:
        """A MAC that stands nowhere in the inventory."""
        i = self._by_address.get(_place(miner.address))
        if i is None or (i in self._updates and "address" in self._updates[i]):
            self._add(miner)
            return
        entry = self._entries[i]
        if entry.mac is None:
            self._met.add(i)
            self._set(i, "mac", mac)
            self._tell("identified", i, miner.address, mac, f"its MAC is {mac}", written=True)
            self._compare_firmware(i, miner)
            return
        self._touched.add(i)
        words = (
            f"{miner.address} stands as {self._name(i)} with MAC {entry.mac}, and {mac} answers there; "
            "if its control board was replaced, correct its mac; if it is gone, remove the entry"
        )
        self._tell("conflict", i, miner.address, mac, words, written=False)

    def _place_nameless(self, miner: Found) -> None:
        """A miner that tells no MAC: it may be the one at its address, and nothing is concluded from it."""
        i = self._by_address.get(_place(miner.address))
        why = miner.problem or "it did not tell its MAC"
        if i is not None and not (i in self._updates and "address" in self._updates[i]):
            self._met.add(i)
            self._touched.add(i)
            self._tell("unverified", i, miner.address, None, f"matched by address only: {why}", written=False)
        elif miner.identified:
            self._add(miner)
        else:
            words = f"looks like {miner.family}, and did not say who it is: {why}"
            self._tell("unclear", None, miner.address, None, words, written=False)

    def _compare_firmware(self, i: int, miner: Found) -> None:
        entry = self._entries[i]
        old, new = FAMILIES.get(entry.family or ""), FAMILIES.get(miner.family)
        if old is None or new is None or old.vendor != new.vendor or old.firmware == new.firmware:
            # Two drivers for the same firmware are a person's choice.
            return
        self._set(i, "family", new.name)
        words = f"from {old.name} to {new.name}"
        self._tell("firmware", i, miner.address, miner.mac, words, written=True)

    def _report_absent(self) -> None:
        if self._searched is None:
            return
        for i, entry in enumerate(self._entries):
            if i in self._met or entry.ports.api != self._api_port or entry.address not in self._searched:
                continue
            self._touched.add(i)
            self._tell("not_seen", i, entry.address, entry.mac, "no answer; kept", written=False)

    def _add(self, miner: Found) -> None:
        profile = self._catalogue.find(miner.model) if miner.model is not None else None
        name = self._new_name(miner, profile.key if profile is not None else None)
        entry: Scalars = {"id": name, "address": miner.address}
        if miner.mac is not None:
            entry["mac"] = miner.mac
        entry["family"] = miner.family
        if profile is not None:
            entry["model"] = profile.key
        self._additions.append(entry)
        words = miner.model or "model unknown"
        if miner.mac is None:
            words += f"; known by its address only: {miner.problem or 'it did not tell its MAC'}"
        self._changes.append(Change("added", name, miner.address, miner.mac, words, written=True))

    def _new_name(self, miner: Found, profile_key: str | None) -> str:
        model = _slug(profile_key or miner.model or miner.family)
        model = re.sub(r"^(antminer|whatsminer)-", "", model)[:40].strip("-") or "miner"
        if miner.mac is not None:
            digits = miner.mac.replace(":", "")
            choices = [f"{model}-{digits[-6:]}", f"{model}-{digits}"]
        else:
            choices = [f"{model}-{_slug(miner.address)}"]
        for n in range(2, len(self._names) + 4):
            choices.append(f"{choices[0]}-{n}")
        name = next(choice for choice in choices if choice not in self._names)
        self._names.add(name)
        return name

    def _set(self, i: int, key: str, value: str) -> None:
        self._updates.setdefault(i, {})[key] = value
        self._touched.add(i)

    def _name(self, i: int) -> str:
        return self._entries[i].id or self._entries[i].address

    def _tell(
        self, kind: Kind, i: int | None, address: str, mac: str | None, detail: str, *, written: bool
    ) -> None:
        name = self._name(i) if i is not None else None
        self._changes.append(Change(kind, name, address, mac, detail, written))


def _place(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower()


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("+", "-plus")).strip("-")
