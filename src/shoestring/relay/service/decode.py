"""A readable line per frame, with every known Ruijie record. Hashes are shown by length alone."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

from shoestring.relay import frames
from shoestring.relay.frames import Eap, Frame, Junk
from shoestring.relay.vendors import ruijie

TYPES = {0: "EAP", 1: "Start", 2: "Logoff", 3: "Key", 4: "Alert", 5: "MKA", 0xBF: "Ruijie echo"}
CODES = {1: "Request", 2: "Response", 3: "Success", 4: "Failure"}
METHODS = {
    1: "Identity",
    2: "Notification",
    3: "Nak",
    4: "MD5",
    6: "GTC",
    13: "TLS",
    21: "TTLS",
    25: "PEAP",
    43: "FAST",
}
GROUPS = {frames.PAE_GROUP: "PAE-group", frames.RUIJIE_GROUP: "Ruijie-group", b"\xff" * 6: "broadcast"}
TEXTS = (0x39, 0x4D, 0x54, 0x6F, 0x76)  # properties that hold ASCII
ADDRESSES = (0x36, 0x38, 0x4E)


def lines(records: Iterator[tuple[float, bytes]]) -> Iterator[str]:
    """Yields a line for each (seconds since 1970, frame)."""
    for when, raw in records:
        clock = time.strftime("%H:%M:%S", time.localtime(when))
        yield f"{clock}.{int(when % 1 * 1e6):06d} {line(raw)}"


def line(raw: bytes) -> str:
    """Returns one frame in words.

    >>> line(frames.build(frames.PAE_GROUP, bytes(6), frames.START))
    '00:00:00:00:00:00 > PAE-group Start v1'
    """
    frame = frames.decode(raw)
    if isinstance(frame, Junk):
        return f"not EAPOL, {len(raw)} bytes: {raw[:20].hex()}"
    parts = [f"{frames.mac_text(frame.src)} > {GROUPS.get(frame.dst) or frames.mac_text(frame.dst)}"]
    for at in range(0, len(frame.tags), 4):
        parts.append(f"vlan {(frame.tags[at + 2] << 8 | frame.tags[at + 3]) & 0xFFF}")
    eap = frame.eap
    if eap is not None:
        parts += [_eap(eap), f"v{frame.version}"]
    else:
        parts.append(f"{TYPES.get(frame.type, f'EAPOL type {frame.type:#04x}')} v{frame.version}")
        if frame.type == frames.EAP:
            parts.append(f"broken EAP {frame.body[:8].hex()}")
    return " ".join(parts + list(_vendor(frame, eap)))


def _eap(eap: Eap) -> str:
    words = f"{CODES[eap.code]} id {eap.id}"
    if not eap.type:
        return words
    words += f" {METHODS.get(eap.type, f'EAP type {eap.type}')}"
    data = eap.data[1:]
    if eap.type in (frames.IDENTITY, frames.NOTIFICATION):
        return f"{words} {ruijie.readable(data)!r}" if data else words
    if eap.type == frames.MD5 and data:
        name = ruijie.readable(data[1 + data[0] :])
        kind = "challenge" if eap.code == frames.REQUEST else "answer"
        return f"{words} {kind} of {data[0]} bytes, name {name!r}"
    return f"{words} {len(data)} bytes"


def _vendor(frame: Frame, eap: Eap | None) -> Iterator[str]:
    trailer = frame.body if eap is None else eap.trailer
    if frame.type == frames.ECHO:
        parsed = ruijie.parse_echo(frame.body)
        yield f"key {parsed[0]:08x} number {parsed[1]:#x}" if parsed else f"unknown {frame.body[:32].hex()}"
    elif trailer.startswith(ruijie.CODED_MAGIC):
        yield from _client_trailer(trailer)
    elif ruijie.MAGIC in trailer:
        yield from _switch_trailer(trailer)
    elif any(trailer):
        yield f"| {len(trailer)} more bytes {trailer[:16].hex()}"


def _client_trailer(trailer: bytes) -> Iterator[str]:
    parsed = ruijie.parse_trailer(trailer)
    if parsed is None:
        yield f"| Ruijie trailer of {len(trailer)} bytes with a wrong CRC or layout"
        return
    header = parsed.header
    yield (
        f"| Ruijie dhcp {header.dhcp} ip {_ip(header.address)} mask {_ip(header.mask)} "
        f"gateway {_ip(header.gateway)} dns {_ip(header.dns)} crc ok"
    )
    for type, data, _ in parsed.properties:
        yield f"| {type:02X} {ruijie.PROPERTIES.get(type, 'unknown')}: {_property(type, data)}"


def _property(type: int, data: bytes) -> str:
    if not data:
        return "empty"
    if type in (ruijie.PASSWORD_HASH, ruijie.VENDOR_HASH):
        return f"{len(data)} bytes, hidden"
    if type == 0x2D and len(data) == 6:
        return frames.mac_text(data)
    if type in TEXTS:
        return repr(ruijie.readable(data)) if any(data) else f"{len(data)} zeros"
    if type in ADDRESSES and len(data) == 16:
        import socket

        return socket.inet_ntop(socket.AF_INET6, data)
    return data.hex()


def _switch_trailer(trailer: bytes) -> Iterator[str]:
    for type, length, data in ruijie.scan(trailer):
        if type == 0 and data and length and length <= len(data):
            yield f"| 00 message: {ruijie.readable(data[:length])!r}"
        elif type == 1 and data[:4] == ruijie.CODED_MAGIC and len(data) >= 10:
            plain = ruijie.code(data[:14]).ljust(14, b"\0")
            key, alive = struct.unpack(">II", plain[6:14])
            yield f"| 01 echo key {key:08x}, alive {alive} s"
        elif type == 0x3C:
            yield f"| 3C accounting: {ruijie.readable(data[: max(0, length - 2)])!r}"
        else:
            yield f"| {type:02X} {len(data)} bytes" + (f" {data[:8].hex()}" if any(data) else "")


def _ip(address: bytes) -> str:
    return ".".join(map(str, address))
