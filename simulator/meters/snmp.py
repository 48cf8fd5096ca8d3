"""A simulated PDU: an SNMPv2c agent over UDP that answers GET, with one object for each outlet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from simulator.meters import ber
from simulator.meters.surface import MeterSurface

_VERSION_2C = 1
_TOO_BIG = 1


@dataclass(frozen=True, slots=True)
class SnmpLayout:
    """How a make numbers its outlets: `{base}.{outlet}{suffix}`, from 1, in steps of `step_w` watts."""

    base: str
    suffix: str = ""
    step_w: float = 1.0

    def oid(self, place: int) -> str:
        """The object of outlet `place`, counted from 0."""
        return f"{self.base}.{place + 1}{self.suffix}"


APC_RPDU2 = SnmpLayout("1.3.6.1.4.1.318.1.1.26.9.4.3.1.7")
RARITAN_PX2 = SnmpLayout("1.3.6.1.4.1.13742.6.5.4.3.1.4.1", suffix=".5")
EATON_EPDU = SnmpLayout("1.3.6.1.4.1.534.6.6.7.6.5.1.3.0")


class SnmpPeer:
    """One PDU on one UDP port. It keeps silent to a wrong community, as real ones do."""

    def __init__(
        self, surface: MeterSurface, address: str, port: int = 0, *, community: str, layout: SnmpLayout
    ) -> None:
        self.surface = surface
        self.address = address
        self.port = port
        self.layout = layout
        self._community = community.encode()
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Bind the port.

        Raises:
            OSError: it cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Agent(self), local_addr=(self.address, self.port)
        )
        self.port = self._transport.get_extra_info("sockname")[1]

    async def close(self) -> None:
        """Release the port."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
            # The socket closes in the next turn of the loop.
            await asyncio.sleep(0)

    def answer(self, request: bytes) -> bytes | None:
        """The reply to one datagram, None for silence."""
        surface = self.surface
        surface.requests += 1
        if surface.faults.silent or (surface.faults.lossy and surface.requests % 2 == 1):
            return None
        if surface.faults.garbage:
            return surface.faults.garbage_bytes()
        try:
            reply = self._reply(request)
        except ber.NotBer:
            return None
        return reply[: len(reply) // 2] if reply is not None and surface.faults.cut else reply

    def _reply(self, request: bytes) -> bytes | None:
        message, _ = ber.unpack(request, ber.SEQUENCE)
        version, rest = ber.unpack(message, ber.INTEGER)
        community, rest = ber.unpack(rest, ber.OCTETS)
        if ber.number(version) != _VERSION_2C or community != self._community:
            return None
        pdu, _ = ber.unpack(rest, ber.GET)
        number, rest = ber.unpack(pdu, ber.INTEGER)
        for _ in range(2):
            _status, rest = ber.unpack(rest, ber.INTEGER)
        bindings, _ = ber.unpack(rest, ber.SEQUENCE)
        asked: list[bytes] = []
        left = bindings
        while left:
            binding, left = ber.unpack(left, ber.SEQUENCE)
            asked.append(ber.unpack(binding, ber.OID)[0])
        at_most = self.surface.faults.at_most
        if 0 < at_most < len(asked):
            return self._message(number, _TOO_BIG, bindings)
        figures = self._figures()
        absent = ber.pack(ber.NO_SUCH_INSTANCE, b"")
        parts = (ber.pack(ber.OID, oid) + figures.get(oid, absent) for oid in asked)
        return self._message(number, 0, b"".join(ber.pack(ber.SEQUENCE, part) for part in parts))

    def _figures(self) -> dict[bytes, bytes]:
        faults, watts = self.surface.faults, self.surface.watts()
        if faults.missing:
            watts = watts[:-1]
        figures: dict[bytes, bytes] = {}
        for place, value in enumerate(watts):
            counted = round(value / self.layout.step_w)
            body = ber.integer(counted, ber.INTEGER if counted < 0 else ber.GAUGE)
            if faults.wrong_type:
                body = ber.pack(ber.OCTETS, b"on")
            figures[ber.object_identifier(self.layout.oid(place))] = body
        return figures

    def _message(self, number: bytes, status: int, bindings: bytes) -> bytes:
        pdu = ber.pack(ber.INTEGER, number) + ber.integer(status) + ber.integer(0)
        pdu += ber.pack(ber.SEQUENCE, bindings)
        body = ber.integer(_VERSION_2C) + ber.pack(ber.OCTETS, self._community) + ber.pack(ber.RESPONSE, pdu)
        return ber.pack(ber.SEQUENCE, body)


class _Agent(asyncio.DatagramProtocol):
    """Answers each datagram to where it came from."""

    def __init__(self, peer: SnmpPeer) -> None:
        self._peer = peer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transport of a UDP socket is no DatagramTransport by its class.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._peer.answer(data)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
