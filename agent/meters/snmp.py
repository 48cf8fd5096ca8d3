"""A PDU over SNMPv2c: its outlets in GETs of up to 20 objects, over one socket, one GET at a time.

Messages are made and read by pysnmp; the socket is ours, so that strangers and garbage cost nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from typing import Any

from agent.errors import Malformed, Refused, Unreachable, Unsupported
from agent.meters.config import SnmpMeter
from agent.meters.library import library
from agent.meters.watts import Found, split, to_watts

_AT_ONCE = 20
# UDP loses packets, and PDUs are slow: each GET is sent again after so long, within the deadline.
_RESEND_S = 0.7
_LIMIT_BYTES = 8 * 1024
# Answers to other questions before the meter is given up for this round.
_STRANGE = 8
_TOO_BIG, _NO_SUCH_NAME = 1, 2
_STATUS = {1: "tooBig", 2: "noSuchName", 5: "genErr", 6: "noAccess", 16: "authorizationError"}
_OPAQUE_FLOAT, _OPAQUE_DOUBLE = b"\x9f\x78\x04", b"\x9f\x79\x08"


class Snmp:
    """The outlets of one PDU. Fulfils `Meter`.

    Args:
        config: where and what.
        community: never shown anywhere.

    Raises:
        InputError: pysnmp is not installed.
    """

    def __init__(self, config: SnmpMeter, community: str) -> None:
        self._v2c = library("pysnmp.proto.api.v2c", config.name)
        self._decode = library("pyasn1.codec.ber.decoder", config.name).decode
        self._encode = library("pyasn1.codec.ber.encoder", config.name).encode
        self._types = library("pyasn1.type.univ", config.name)
        self._exceptions = library("pysnmp.proto.rfc1905", config.name)
        self._config = config
        self._community = community
        self._at_once = _AT_ONCE

    async def read(self, found: Found) -> None:
        """See `Meter.read`."""
        host, port = self._config.host, self._config.port
        loop = asyncio.get_running_loop()
        try:
            transport, mailbox = await loop.create_datagram_endpoint(_Mailbox, remote_addr=(host, port))
        except (OSError, UnicodeError) as error:
            raise Unreachable(host, f"UDP port {port}: {error}") from error
        try:
            waiting = split(range(len(self._config.outlets)), self._at_once)
            while waiting:
                places = waiting.pop(0)
                waiting[:0] = await self._get(transport, mailbox, places, found)
        finally:
            transport.abort()

    async def _get(
        self, transport: asyncio.DatagramTransport, mailbox: _Mailbox, places: list[int], found: Found
    ) -> list[list[int]]:
        """One GET. Returns what must be asked anew: in smaller pieces, or without the figure that fails."""
        number = random.randrange(1, 2**31)
        request = self._request(number, places)
        pdu = await self._answer(transport, mailbox, request, number)
        api = self._v2c.apiPDU
        status, index = int(api.get_error_status(pdu)), int(api.get_error_index(pdu))
        host, outlets = self._config.host, self._config.outlets
        if status == _TOO_BIG and len(places) > 1:
            self._at_once = max(1, len(places) // 2)
            return split(places, self._at_once)
        if status != 0:
            words = f"the PDU answers {_STATUS.get(status, f'error {status}')}"
            if not 1 <= index <= len(places):
                raise Refused(host, words)
            place = places[index - 1]
            kind = Unsupported if status == _NO_SUCH_NAME else Refused
            found(place, kind(host, f"{outlets[place].label}: {words} to {outlets[place].oid}"))
            rest = places[: index - 1] + places[index:]
            return [rest] if rest else []
        values = {str(name): value for name, value in api.get_varbinds(pdu)}
        for place in places:
            outlet = outlets[place]
            if outlet.oid not in values:
                found(place, Malformed(host, f"{outlet.label}: the answer leaves {outlet.oid} out"))
                continue
            value = values[outlet.oid]
            if isinstance(value, self._absent):
                words = f"the PDU has no object {outlet.oid}; check the outlet's number and the model"
                found(place, Unsupported(host, f"{outlet.label}: {words}"))
            else:
                found(place, to_watts(self._plain(value), outlet, host))
        return []

    async def _answer(
        self, transport: asyncio.DatagramTransport, mailbox: _Mailbox, request: bytes, number: int
    ) -> Any:
        """The PDU that answers request `number`; waits as long as the caller lets it."""
        host, port = self._config.host, self._config.port
        strange = 0
        transport.sendto(request)
        while strange < _STRANGE:
            try:
                async with asyncio.timeout(_RESEND_S):
                    reply = await mailbox.next()
            except TimeoutError:
                transport.sendto(request)
                continue
            except OSError as error:
                words = os.strerror(error.errno) if error.errno else str(error)
                raise Unreachable(host, f"UDP port {port}: {words}") from error
            pdu = self._parse(reply)
            if int(self._v2c.apiPDU.get_request_id(pdu)) == number:
                return pdu
            # A second answer to a GET that was sent twice.
            strange += 1
        raise Malformed(host, "answers to questions that were not asked")

    def _request(self, number: int, places: list[int]) -> bytes:
        api = self._v2c
        pdu = api.GetRequestPDU()
        api.apiPDU.set_defaults(pdu)
        api.apiPDU.set_request_id(pdu, number)
        api.apiPDU.set_varbinds(pdu, [(self._config.outlets[i].oid, api.null) for i in places])
        message = api.Message()
        api.apiMessage.set_defaults(message)
        api.apiMessage.set_community(message, self._community)
        api.apiMessage.set_pdu(message, pdu)
        encoded: bytes = self._encode(message)
        return encoded

    def _parse(self, reply: bytes) -> Any:
        host, api = self._config.host, self._v2c
        if len(reply) > _LIMIT_BYTES:
            raise Malformed(host, f"the answer is longer than {_LIMIT_BYTES} bytes")
        try:
            message, _ = self._decode(reply, asn1Spec=api.Message())
            pdu = api.apiMessage.get_pdu(message)
            # Reach for everything once: parts that are missing only show when they are used.
            api.apiPDU.get_request_id(pdu), api.apiPDU.get_error_status(pdu), api.apiPDU.get_error_index(pdu)
            api.apiPDU.get_varbinds(pdu)
        except Exception as error:
            # What the decoder raises on bytes from outside is not documented; none of it may end a cycle.
            raise Malformed(host, f"the answer is not SNMP ({len(reply)} bytes)") from error
        if not pdu.isSameTypeWith(api.GetResponsePDU()):
            raise Malformed(host, "the answer is not a response")
        return pdu

    @property
    def _absent(self) -> tuple[type, ...]:
        kinds = self._exceptions
        return (kinds.NoSuchObject, kinds.NoSuchInstance, kinds.EndOfMibView, kinds.UnSpecified)

    def _plain(self, value: Any) -> object:
        """An SNMP value as a number or text; others are returned as they are and refused later."""
        api = self._v2c
        if isinstance(value, api.Opaque):
            raw = bytes(value)
            if len(raw) == 7 and raw.startswith(_OPAQUE_FLOAT):
                return float(struct.unpack(">f", raw[3:])[0])
            if len(raw) == 11 and raw.startswith(_OPAQUE_DOUBLE):
                return float(struct.unpack(">d", raw[3:])[0])
            return value
        if isinstance(value, api.IpAddress | api.TimeTicks):
            return value
        if isinstance(value, self._types.OctetString):
            return bytes(value)[:65].decode("ascii", errors="replace")
        if isinstance(value, self._types.Integer):
            return int(value)
        return value


class _Mailbox(asyncio.DatagramProtocol):
    """The newest few datagrams from the PDU; the system drops those from other senders."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | Exception] = asyncio.Queue(maxsize=8)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc)

    async def next(self) -> bytes:
        """The next datagram.

        Raises:
            OSError: the host says that nobody listens there.
        """
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _put(self, item: bytes | Exception) -> None:
        if not self._queue.full():
            self._queue.put_nowait(item)
