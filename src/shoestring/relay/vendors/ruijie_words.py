"""Ruijie's records and properties in words, for `relay decode`. Hashes are shown by length alone."""

from __future__ import annotations

from collections.abc import Iterator

from shoestring.relay import frames
from shoestring.relay.vendors import ruijie
from shoestring.relay.vendors.ruijie_client import MAC, SECRETS, Trailer, parse_trailer
from shoestring.relay.vendors.texts import readable

PROPERTIES = {
    0x17: "v2 checksum", 0x18: "DHCP", 0x2D: "MAC", 0x2F: "password hash", 0x35: "flag 35",
    0x36: "link-local IPv6", 0x38: "temporary IPv6", 0x39: "service", 0x3C: "accounting",
    0x4D: "vendor hash", 0x4E: "global IPv6", 0x54: "disk serial", 0x55: "empty 55", 0x62: "flag 62",
    0x66: "services", 0x6B: "flag 6B", 0x6F: "client version", 0x70: "OS bits", 0x76: "secondary DNS",
    0x79: "school 79",
}  # fmt: skip
CHECKSUM = 0x17  # characters in new clients, bytes in old ones
TEXTS = (CHECKSUM, 0x39, 0x4D, 0x54, 0x6F, 0x76)  # properties that hold characters
ADDRESSES = (0x36, 0x38, 0x4E)


def client_fields(trailer: bytes) -> Iterator[tuple[str, str]]:
    """Yields (what, value) of a client's trailer."""
    parsed = parse_trailer(trailer)
    if parsed is None:
        yield "trailer", f"{len(trailer)} bytes with a wrong CRC or layout"
        return
    yield from _header(parsed)
    for type, data, _ in parsed.properties:
        yield f"{type:02X} {PROPERTIES.get(type, 'unknown')}", _property(type, data)
    if ruijie.MAGIC in parsed.rest:
        for type, length, data in ruijie.scan(parsed.rest):
            yield (
                f"{type:02X} {PROPERTIES.get(type, 'unknown')}, not counted",
                data[: max(0, length - 2)].hex(),
            )
        yield "behind the counted properties", f"{len(parsed.rest)} bytes"


def _header(parsed: Trailer) -> Iterator[tuple[str, str]]:
    header = parsed.header
    yield "dhcp", str(header.dhcp)
    for name in ("address", "mask", "gateway", "dns"):
        yield name, ".".join(map(str, getattr(header, name)))
    yield "crc", "ok"
    name, version, flag = parsed.program[:32], parsed.program[32:36], parsed.program[36]
    yield "program", f"{readable(name)} {version.hex()} flag {flag:02x}"


def _property(type: int, data: bytes) -> str:
    if not data:
        return "empty"
    if type in SECRETS:
        return f"{len(data)} bytes, hidden" if any(data) else f"{len(data)} zeros"
    if type == MAC and len(data) == 6:
        return frames.mac_text(data)
    if type in TEXTS and (type != CHECKSUM or data.isalnum()):
        return repr(readable(data)) if any(data) else f"{len(data)} zeros"
    if type in ADDRESSES and len(data) == 16:
        import socket

        return socket.inet_ntop(socket.AF_INET6, data)
    return data.hex()


def record_fields(beyond: bytes) -> Iterator[tuple[str, str]]:
    """Yields (what, value) of a switch's records."""
    for type, length, data in ruijie.scan(beyond):
        found = ruijie.echo_key(ruijie.MAGIC + bytes([type, length]) + data)
        if found is not None:
            yield "01 echo key", f"{found.key:08x}"
            yield "alive", f"{found.alive} s"
        elif type == ruijie.MESSAGE and any(data):
            yield "00 message", repr(readable(data[:length] if 0 < length <= len(data) else data))
        elif type in (ruijie.ACCOUNTING, ruijie.SERVICES):
            yield f"{type:02X} {PROPERTIES[type]}", repr(readable(data[: max(0, length - 2)]))
        else:
            value = data[: length - 2] if 2 <= length <= len(data) + 2 and type != ruijie.MESSAGE else data
            yield f"{type:02X}", value.hex() if any(value) else f"{len(value)} zeros" if value else "empty"
