"""The trailer of Ruijie's clients: a coded header with addresses and CRC, the program's name, properties.

- Layouts differ by client and even by building: what does not decode with a right CRC is passed on as it is, and what
  is rebuilt keeps the PC's own bytes wherever they need not change (version, flag, order, what follows the properties).
- The vendor's own hash (property 4D) is neither computed nor stored here: the official client does that.

Source: frames of official clients, tests/relay/frames/ruijie-win-*, ruijie-linux-* and drcom-gdufs-*.
"""

from __future__ import annotations

import struct

from shoestring.relay.containers import namedtuple
from shoestring.relay.vendors.digest import md5
from shoestring.relay.vendors.ruijie import CODED_MAGIC, MAGIC, code, crc16

HEADER = 23  # bytes of the client's coded header
PROGRAM = struct.pack(">32s4sB", b"8021x.exe", bytes.fromhex("011f0102"), 0)
MAC, PASSWORD_HASH, VENDOR_HASH = 0x2D, 0x2F, 0x4D
SECRETS = (PASSWORD_HASH, VENDOR_HASH)


class Header(namedtuple("Header", "dhcp address mask gateway dns")):
    """The client's header: a DHCP flag (0..255) and four IPv4 addresses of 4 bytes each."""

    __slots__ = ()


class Trailer(namedtuple("Trailer", "header program properties first start rest")):
    """A client's trailer that decoded with a valid CRC.

    Args:
        header: the `Header`.
        program: 37 bytes: name, version, and a flag that differs by frame.
        properties: (type, data, position of the data within the trailer) of each property, in order.
        first: where the first property begins.
        start: how many bytes of the trailer the header and properties take.
        rest: what follows them: records that the length does not count, padding.
    """

    __slots__ = ()


def build_header(header: Header) -> bytes:
    """Returns the 23 coded bytes with their CRC."""
    plain = MAGIC + struct.pack(">B4s4s4s4s", *header)
    return code(plain + struct.pack(">H", crc16(plain)))


def build_property(type: int, data: bytes) -> bytes:
    """Returns one property; its data holds up to 247 bytes."""
    return struct.pack(">BB4sBB", 0x1A, len(data) + 8, MAGIC, type, len(data) + 2) + data


def build_trailer(header: Header, properties: list[tuple[int, bytes]], program: bytes = PROGRAM) -> bytes:
    """Returns a client's trailer."""
    body = b"".join(build_property(type, data) for type, data in properties)
    return build_header(header) + MAGIC + program + MAGIC + struct.pack(">H", len(body)) + body


def parse_trailer(trailer: bytes) -> Trailer | None:
    """Returns the client's trailer, or None unless header, CRC and program are all where they should be."""
    plain = code(trailer[:HEADER])
    if len(plain) < HEADER or plain[:4] != MAGIC or crc16(plain[:21]) != plain[21] << 8 | plain[22]:
        return None
    at = HEADER + 4 + len(PROGRAM)
    if trailer[HEADER : HEADER + 4] != MAGIC or trailer[at : at + 4] != MAGIC or len(trailer) < at + 6:
        return None
    first = at + 6
    end = min(first + (trailer[at + 4] << 8 | trailer[at + 5]), len(trailer))
    properties, stop = _properties(trailer, first, end)
    header = Header(*struct.unpack(">B4s4s4s4s", plain[4:21]))
    return Trailer(header, trailer[HEADER + 4 : at], properties, first, stop, trailer[stop:])


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
        if mac is not None and type == MAC and len(data) == 6:
            out[at : at + 6] = mac
    return bytes(out)


def rehash(trailer: bytes, user: bytes, challenge: bytes, password: bytes) -> bytes | None:
    """Returns the PC's trailer with the password hash of this challenge; None where it takes the vendor's own hash too.

    Args:
        trailer: of the PC's last response; empty or unreadable gives an empty one.
        user: name.
        challenge: of the switch.
        password: up to 16 bytes of it count.
    """
    parsed = parse_trailer(trailer)
    if parsed is None:
        return b""
    if any(type == VENDOR_HASH and any(data) for type, data, _ in parsed.properties):
        return None
    hashed = password_hash(user, challenge, password)
    body = b"".join(
        build_property(type, hashed if type == PASSWORD_HASH else data) for type, data, _ in parsed.properties
    )
    counted = struct.unpack(">H", trailer[parsed.first - 2 : parsed.first])[0]
    counted += len(body) - (parsed.start - parsed.first)
    return trailer[: parsed.first - 2] + struct.pack(">H", counted & 0xFFFF) + body + parsed.rest


def redact(trailer: bytes, secret: bool) -> bytes:
    """Returns the trailer with every hash as zeros; all of it where it cannot be read and may hold one.

    Args:
        trailer: of a client's frame.
        secret: a trailer that is not Ruijie's may hold one too.
    """
    parsed = parse_trailer(trailer)
    if parsed is None:
        return bytes(len(trailer)) if secret or trailer.startswith(CODED_MAGIC) else trailer
    out = bytearray(trailer)
    for type, data, at in parsed.properties:
        if type in SECRETS:
            out[at : at + len(data)] = bytes(len(data))
    if any(parsed.rest):
        out[parsed.start :] = bytes(len(parsed.rest))
    return bytes(out)


def password_hash(user: bytes, challenge: bytes, password: bytes) -> bytes:
    """Returns property 2F of a password of up to 16 bytes: MD5(user + challenge) XOR the padded password."""
    padded = password[:16].ljust(16, b"\0")
    return bytes(a ^ b for a, b in zip(md5(user + challenge), padded))
