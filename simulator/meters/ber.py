"""The part of ASN.1 BER that SNMPv2c needs, by hand, so that it checks the library of the other side."""

from __future__ import annotations

INTEGER, OCTETS, NULL, OID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
GAUGE = 0x42
NO_SUCH_INSTANCE = 0x81
GET, RESPONSE = 0xA0, 0xA2
_DEEPEST_BYTES = 4


class NotBer(Exception):
    """The bytes are not what they should be."""


def pack(tag: int, body: bytes) -> bytes:
    """One value with its tag and length."""
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def integer(number: int, tag: int = INTEGER) -> bytes:
    """A whole number, two's complement; a gauge with `tag`."""
    return pack(tag, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def object_identifier(dotted: str) -> bytes:
    """The body of an object identifier, without tag and length."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return b"".join(_arc(arc) for arc in (40 * first + second, *rest))


def _arc(arc: int) -> bytes:
    groups = [arc & 0x7F]
    while arc := arc >> 7:
        groups.append(0x80 | arc & 0x7F)
    return bytes(reversed(groups))


def unpack(data: bytes, expected: int) -> tuple[bytes, bytes]:
    """The body of the value that begins `data`, and what follows it.

    Raises:
        NotBer: it has another tag, or ends before it should.
    """
    if len(data) < 2 or data[0] != expected:
        raise NotBer(f"tag {expected:#x} was expected")
    size, start = data[1], 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= _DEEPEST_BYTES:
            raise NotBer("a length that SNMP does not use")
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if len(data) < start + size:
        raise NotBer("cut short")
    return data[start : start + size], data[start + size :]


def number(body: bytes) -> int:
    """The whole number in a body."""
    return int.from_bytes(body, "big", signed=True)
