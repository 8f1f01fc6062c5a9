"""Ruijie's private data: the byte code, the echo, the Success trailer and the client's trailer.

- Tolerant where switches differ: the Success trailer is scanned from magic to magic, its lengths are not
  believed.
- The vendor's own hash (property 4D) is neither computed nor stored here: the official client does that.
- Server messages are GBK; where Python has no CJK codecs, as on a bare OpenWrt, the text says which package
  to add.

Source: field observations of clients and switches; golden bytes in tests/relay/test_ruijie.py.
"""

from __future__ import annotations

import struct
from collections import namedtuple

from shoestring.relay import frames

MAGIC = bytes.fromhex("00001311")
CODE = bytes(0xFF ^ int(f"{value:08b}"[::-1], 2) for value in range(256))
CODED_MAGIC = MAGIC.translate(CODE)
HEADER = 23  # bytes of the client's coded header
PROGRAM = struct.pack(">32s4sB", b"8021x.exe", bytes.fromhex("011f0102"), 0)
PASSWORD_HASH, VENDOR_HASH = 0x2F, 0x4D
PROPERTIES = {
    0x17: "v2 checksum", 0x18: "DHCP", 0x2D: "MAC", 0x2F: "password hash", 0x35: "flag 35",
    0x36: "link-local IPv6", 0x38: "temporary IPv6", 0x39: "service", 0x3C: "accounting",
    0x4D: "vendor hash", 0x4E: "global IPv6", 0x54: "disk serial", 0x55: "empty 55", 0x62: "flag 62",
    0x6F: "client version", 0x70: "OS bits", 0x76: "secondary DNS", 0x79: "school 79",
}  # fmt: skip


def code(data: bytes) -> bytes:
    """Returns the bytes with their bits reversed and inverted: Ruijie's encoding, and its decoding.

    >>> code(MAGIC).hex()
    'ffff3777'
    """
    return data.translate(CODE)


def crc16(data: bytes) -> int:
    """Returns CRC-16/XMODEM: polynomial 0x1021, initial value 0.

    >>> hex(crc16(b"123456789"))
    '0x31c3'
    """
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def echo_body(key: int, number: int) -> bytes:
    """Returns the 27 bytes of an echo: key + number and the number itself, both modulo 2^32."""
    total = (key + number) & 0xFFFFFFFF
    return code(
        struct.pack(">4sBBI4sBBI4sBBB", MAGIC, 1, 6, total, MAGIC, 1, 6, number & 0xFFFFFFFF, MAGIC, 1, 3, 0)
    )


def parse_echo(body: bytes) -> tuple[int, int] | None:
    """Returns (key, number) of an echo's body, or None where it is not one."""
    plain = code(body[:27])
    if len(plain) < 20 or plain[:6] != MAGIC + b"\1\6" or plain[10:16] != MAGIC + b"\1\6":
        return None
    total, number = struct.unpack(">I6xI", plain[6:20])
    return (total - number) & 0xFFFFFFFF, number


class Header(namedtuple("Header", "dhcp address mask gateway dns")):
    """The client's header: a DHCP flag (0..255) and four IPv4 addresses of 4 bytes each."""

    __slots__ = ()


class Trailer(namedtuple("Trailer", "header properties start rest")):
    """A client's trailer that decoded with a valid CRC.

    Args:
        header: the `Header`.
        properties: (type, data, position of the data within the trailer) of each property, in order.
        start: how many bytes of the trailer the header and properties take.
        rest: what follows them: padding.
    """

    __slots__ = ()


def build_header(header: Header) -> bytes:
    """Returns the 23 coded bytes with their CRC."""
    plain = MAGIC + struct.pack(">B4s4s4s4s", *header)
    return code(plain + struct.pack(">H", crc16(plain)))


def build_trailer(header: Header, properties: list[tuple[int, bytes]]) -> bytes:
    """Returns a client's trailer; a property holds up to 247 bytes."""
    body = b"".join(
        struct.pack(">BB4sBB", 0x1A, len(data) + 8, MAGIC, type, len(data) + 2) + data
        for type, data in properties
    )
    return build_header(header) + MAGIC + PROGRAM + MAGIC + struct.pack(">H", len(body)) + body


def parse_trailer(trailer: bytes) -> Trailer | None:
    """Returns the client's trailer, or None unless header, CRC and program name are all as they should be."""
    plain = code(trailer[:HEADER])
    if len(plain) < HEADER or plain[:4] != MAGIC or crc16(plain[:21]) != plain[21] << 8 | plain[22]:
        return None
    at = HEADER + 4 + len(PROGRAM)
    if trailer[HEADER : HEADER + 4] != MAGIC or trailer[at : at + 4] != MAGIC or len(trailer) < at + 6:
        return None
    start = at + 6
    end = min(start + (trailer[at + 4] << 8 | trailer[at + 5]), len(trailer))
    properties, stop = _properties(trailer, start, end)
    return Trailer(Header(*struct.unpack(">B4s4s4s4s", plain[4:21])), properties, stop, trailer[stop:])


def _properties(trailer: bytes, at: int, end: int) -> tuple[list[tuple[int, bytes, int]], int]:
    found = []
    while at + 8 <= end and trailer[at] == 0x1A and trailer[at + 2 : at + 6] == MAGIC:
        stop = at + trailer[at + 1]
        if not at + 8 <= stop <= end or trailer[at + 7] != trailer[at + 1] - 6:
            break
        found.append((trailer[at + 6], trailer[at + 8 : stop], at + 8))
        at = stop
    return found, at


def rewrite(trailer: bytes, mac: bytes | None, header: Header | None) -> bytes:
    """Returns the trailer with its MAC property and header replaced; unchanged where it does not decode.

    Args:
        trailer: the bytes beyond the EAP packet or the EAPOL header.
        mac: the new property 2D, or None to keep it.
        header: the new addresses, or None to keep them; the client's own DHCP flag stays.
    """
    parsed = parse_trailer(trailer)
    if parsed is None:
        return trailer
    out = bytearray(trailer)
    if header is not None:
        out[:HEADER] = build_header(header._replace(dhcp=parsed.header.dhcp))
    for type, data, at in parsed.properties:
        if mac is not None and type == 0x2D and len(data) == 6:
            out[at : at + 6] = mac
    return bytes(out)


def scan(trailer: bytes) -> list[tuple[int, int, bytes]]:
    """Returns (type, claimed length, data) of each record of a switch; data runs to the next magic."""
    parts = trailer.split(MAGIC)[1:65]  # more records than any switch sends
    return [(part[0], part[1], part[2:]) for part in parts if len(part) >= 2]


def echo_key(trailer: bytes) -> tuple[int, int] | None:
    """Returns (key, seconds after which the switch drops a silent client) from a Success, or None.

    >>> echo_key(MAGIC + bytes.fromhex("0101 ffff3777af7fb391ad78ffff7fcbff"))
    (846613217, 300)
    """
    for type, _, data in scan(trailer):
        if type == 1 and len(data) >= 10 and data[:4] == CODED_MAGIC:
            plain = code(data[:14]).ljust(14, b"\0")
            return struct.unpack(">II", plain[6:14])
    return None


def message(trailer: bytes) -> str:
    """Returns the switch's message to the user, empty where there is none."""
    for type, length, data in scan(trailer):
        if type == 0 and data:
            return readable(data[:length] if 0 < length <= len(data) else data)
    return ""


def readable(data: bytes, limit: int = 240) -> str:
    """Returns GBK bytes as one printable line of at most `limit` characters."""
    data = data.split(b"\0")[0][: 2 * limit]
    note = ""
    try:
        text = data.decode("gbk", "replace")
    except LookupError:
        text = data.decode("ascii", "backslashreplace")
        note = "" if data.isascii() else " (GBK; to read it: opkg install python3-codecs)"
    return printable(text)[:limit] + note


def printable(text: str) -> str:
    """Returns the text with every run of unprintable characters as one space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def md5(data: bytes) -> bytes:
    """Returns the 16 bytes of MD5, which EAP-MD5 is made of."""
    try:
        # CPython's own: hashlib would load 4 MB of OpenSSL.
        # pyrefly: ignore[missing-import]
        from _md5 import md5 as digest
    except ImportError:
        from hashlib import md5 as digest
    return digest(data).digest()


def password_hash(user: bytes, challenge: bytes, password: bytes) -> bytes:
    """Returns property 2F of a password of up to 16 bytes: MD5(user + challenge) XOR the padded password."""
    padded = password[:16].ljust(16, b"\0")
    return bytes(a ^ b for a, b in zip(md5(user + challenge), padded))


def is_ruijie(frame: frames.Frame, eap: frames.Eap | None) -> bool:
    """True where the frame, whose packet is `eap`, bears Ruijie's mark: an echo or a trailer of either side."""
    trailer = frame.body if eap is None else eap.trailer
    return frame.type == frames.ECHO or trailer.startswith((MAGIC, CODED_MAGIC))
