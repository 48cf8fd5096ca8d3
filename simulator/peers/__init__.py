"""Simulated miners on the network: `serve` puts one machine behind the sockets of its firmware.

Written from the protocol notes alone and sharing nothing with `agent.devices`, so that they check each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simulator.machine import Machine
from simulator.peers.antminer.api import AntminerApi
from simulator.peers.antminer.status import AntminerStatus
from simulator.peers.antminer.web import AntminerWeb
from simulator.peers.antminer_old.api import OldApi
from simulator.peers.antminer_old.conf import generation
from simulator.peers.antminer_old.ssh import OldSsh
from simulator.peers.antminer_old.unit import OldUnit
from simulator.peers.antminer_old.web import OldWeb
from simulator.peers.braiins.api import BraiinsApi
from simulator.peers.braiins.grpc import BraiinsGrpc
from simulator.peers.braiins.unit import BraiinsUnit
from simulator.peers.braiins.web import BraiinsWeb
from simulator.peers.faults import NO_FAULTS, Faults
from simulator.peers.listener import Handler, Listener
from simulator.peers.luxos.api import LuxosApi
from simulator.peers.luxos.unit import LuxosUnit
from simulator.peers.luxos.web import LuxosWeb
from simulator.peers.redirect import Redirect
from simulator.peers.surface import PeerOptions, PeerPorts, Surface
from simulator.peers.vnish.api import VnishApi
from simulator.peers.vnish.unit import VnishUnit
from simulator.peers.vnish.web import VnishWeb
from simulator.peers.whatsminer.unit import WhatsminerUnit
from simulator.peers.whatsminer.v2 import WhatsminerV2
from simulator.peers.whatsminer.v3 import WhatsminerV3

__all__ = ["NO_FAULTS", "Faults", "Peer", "PeerOptions", "PeerPorts", "serve"]


class Peer:
    """One machine and its listening ports. Made by `serve`; close it when done."""

    def __init__(
        self, surface: Surface, address: str, asked: PeerPorts, listeners: dict[str, Listener]
    ) -> None:
        self._surface = surface
        self.address = address
        self._asked = asked
        self._listeners = listeners

    @property
    def ports(self) -> PeerPorts:
        """The ports as bound; those of APIs that this miner has not keep what was asked for."""
        bound = {name: listener.port for name, listener in self._listeners.items()}
        return replace(self._asked, **bound)

    @property
    def faults(self) -> Faults:
        """The switches now on."""
        return self._surface.faults

    async def set_faults(self, faults: Faults) -> None:
        """Replace the fault switches; open connections go on as they began.

        Raises:
            OSError: a port that was closed cannot be bound again.
        """
        self._surface.set_faults(faults)
        closed = {"web"} if faults.web_dead else set()
        if faults.restarting and self._surface.machine.spec.vendor == "bitmain":
            closed |= {"api", "status"}
        for name, listener in self._listeners.items():
            if faults.unplugged or name in closed:
                await listener.close()
            else:
                await listener.start()

    async def close(self) -> None:
        """Stop listening, end every connection and forget what was still to happen."""
        for listener in self._listeners.values():
            await listener.close()
        await self._surface.close()


async def serve(machine: Machine, address: str, ports: PeerPorts, options: PeerOptions) -> Peer:
    """Put a machine on the network.

    Args:
        machine: what the sockets show and change.
        address: IP address to listen on, one per miner.
        ports: TCP ports; 0 takes any free one.
        options: firmware behaviour and faults.

    Raises:
        OSError: an address or port cannot be bound; nothing is left listening.
    """
    surface = Surface(machine, options)
    handlers = _handlers(surface, address)
    asked = {
        "api": ports.api,
        "web": ports.web,
        "status": ports.status,
        "api_v3": ports.api_v3,
        "ssh": ports.ssh,
        "grpc": ports.grpc,
    }
    listeners = {
        name: Listener(
            address,
            asked[name],
            handle,
            faults=lambda: surface.faults,
            hangs=_hangs(surface, name),
        )
        for name, handle in handlers.items()
    }
    peer = Peer(surface, address, ports, listeners)
    try:
        await peer.set_faults(options.faults)
    except OSError:
        await peer.close()
        raise
    return peer


def _handlers(surface: Surface, address: str) -> dict[str, Handler]:
    if surface.machine.state().vendor == "bitmain":
        return _ANTMINER[surface.options.firmware](surface, address)
    return _whatsminer(surface, address)


def _antminer_stock(surface: Surface, address: str) -> dict[str, Handler]:
    if generation(surface.machine.state().type_text) is not None:
        # The only stock firmware that there is for these models.
        return _antminer_old(surface, address)
    api = AntminerApi(surface)
    return {
        "api": api.handle,
        "web": AntminerWeb(surface, api, address).handle,
        "status": AntminerStatus(surface).handle,
    }


def _antminer_old(surface: Surface, address: str) -> dict[str, Handler]:
    unit = OldUnit(surface, address)
    api = OldApi(unit)
    return {"api": api.handle, "web": OldWeb(unit, api).handle, "ssh": OldSsh(unit).handle}


def _luxos(surface: Surface, address: str) -> dict[str, Handler]:
    unit = LuxosUnit(surface, address)
    return {"api": LuxosApi(unit).handle, "web": LuxosWeb(unit).handle}


def _vnish(surface: Surface, address: str) -> dict[str, Handler]:
    unit = VnishUnit(surface, address)
    return {"api": VnishApi(unit).handle, "web": VnishWeb(unit).handle}


def _braiins(surface: Surface, address: str) -> dict[str, Handler]:
    unit = BraiinsUnit(surface, address)
    return {
        "api": BraiinsApi(unit).handle,
        "web": BraiinsWeb(unit).handle,
        "grpc": BraiinsGrpc(unit).handle,
    }


# Firmware of `PeerOptions` -> the servers of an Antminer that runs it, by port name.
_ANTMINER: dict[str, Callable[[Surface, str], dict[str, Handler]]] = {
    "stock": _antminer_stock,
    "old": _antminer_old,
    "luxos": _luxos,
    "vnish": _vnish,
    "braiins": _braiins,
}


def _whatsminer(surface: Surface, address: str) -> dict[str, Handler]:
    unit = WhatsminerUnit(surface)
    handlers: dict[str, Handler] = {
        "api": WhatsminerV2(surface, unit, address).handle,
        "web": Redirect(surface, address).handle,
    }
    if surface.options.api_v3:
        handlers["api_v3"] = WhatsminerV3(surface, unit, address).handle
    return handlers


def _hangs(surface: Surface, name: str) -> Callable[[], bool]:
    return lambda: surface.faults.hang or (surface.faults.zombie and name == "api")
