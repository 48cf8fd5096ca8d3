"""Header compression of HTTP/2 (RFC 7541): all of it for reading, the plain form for writing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

MAX_TABLE_BYTES = 4096
MAX_HEADERS = 64
_ENTRY_OVERHEAD = 32
Header = tuple[str, str]

# Names without values, from entry 17 of the static table on.
_NAMES = """
accept-language accept-ranges accept access-control-allow-origin age allow authorization
cache-control content-disposition content-encoding content-language content-length
content-location content-range content-type cookie date etag expect expires from host
if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link
location max-forwards proxy-authenticate proxy-authorization range referer refresh
retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary
via www-authenticate
"""
_STATIC: Sequence[Header] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    *((":status", code) for code in ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    *((name, "") for name in _NAMES.split()),
)
# Lengths in bits of the Huffman codes of bytes 0 to 255 and the end mark (appendix B); the code is canonical.
_LENGTHS = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28),
    *(28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6),
    *(6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8),
    *(7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7),
    *(7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23),
    *(24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22),
    *(23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25),
    *(26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24),
    *(20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27),
    *(27, 27, 27, 26, 30),
)
_END = 256


class Decoder:
    """Reads the header blocks of one connection, in the order they came."""

    def __init__(self) -> None:
        self._recent: list[Header] = []

    def decode(self, block: bytes) -> list[Header]:
        """The headers of one block.

        Raises:
            ValueError: it is not one.
        """
        headers: list[Header] = []
        at = 0
        try:
            while at < len(block):
                first = block[at]
                if first & 0x80:
                    index, at = _integer(block, at, 7)
                    headers.append(self._entry(index))
                elif first & 0xE0 == 0x20:
                    _, at = _integer(block, at, 5)
                    self._recent.clear()
                else:
                    kept = bool(first & 0x40)
                    index, at = _integer(block, at, 6 if kept else 4)
                    name, at = (self._entry(index)[0], at) if index else _string(block, at)
                    value, at = _string(block, at)
                    headers.append((name, value))
                    if kept:
                        self._keep((name, value))
                if len(headers) > MAX_HEADERS:
                    raise ValueError("too many headers")
        except IndexError as error:
            raise ValueError("the header block ends too early") from error
        return headers

    def _entry(self, index: int) -> Header:
        if index == 0:
            raise ValueError("there is no header 0")
        if index <= len(_STATIC):
            return _STATIC[index - 1]
        return self._recent[index - len(_STATIC) - 1]

    def _keep(self, header: Header) -> None:
        self._recent.insert(0, header)
        while sum(len(name) + len(value) + _ENTRY_OVERHEAD for name, value in self._recent) > MAX_TABLE_BYTES:
            self._recent.pop()


def encode(headers: Iterable[Header]) -> bytes:
    """A header block of literals that nobody needs to remember; names and values under 127 bytes."""
    block = bytearray()
    for name, value in headers:
        block.append(0)
        for text in (name, value):
            raw = text.encode("latin-1", errors="replace")[:126]
            block.append(len(raw))
            block += raw
    return bytes(block)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    for shift in range(0, 28, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("an integer is too long")


def _string(block: bytes, at: int) -> tuple[str, int]:
    coded = bool(block[at] & 0x80)
    length, at = _integer(block, at, 7)
    raw = block[at : at + length]
    if len(raw) < length:
        raise ValueError("a string ends too early")
    return (_unpack(raw) if coded else raw).decode("latin-1"), at + length


@cache
def _codes() -> dict[tuple[int, int], int]:
    """Symbol by length and code."""
    codes: dict[tuple[int, int], int] = {}
    code, length = 0, 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda one: (_LENGTHS[one], one)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


def _unpack(raw: bytes) -> bytes:
    codes = _codes()
    text = bytearray()
    code, length = 0, 0
    for byte in raw:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            symbol = codes.get((length, code))
            if symbol == _END or length > 30:
                raise ValueError("bad Huffman code")
            if symbol is not None:
                text.append(symbol)
                code, length = 0, 0
    if length > 7 or code != (1 << length) - 1:
        raise ValueError("bad Huffman padding")
    return bytes(text)
