"""Capture files as frames: pcap and pcapng, of Ethernet or of `tcpdump -i any`.

- Frames of `-i any` (link types 113 and 276) have no destination address and no Ethernet header; one is made, with the
  destination as zeros, or as broadcast where the kernel said so.
- A frame that was captured in part comes with the size that it had on the wire.

Source: pcap-savefile(5); draft-ietf-opsawg-pcapng sections 4.1 to 4.5; LINKTYPE_LINUX_SLL and SLL2 of tcpdump.org.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 0x0A0D0D0A, 1, 2, 3, 6  # blocks of pcapng
ORDER_MARK = 0x1A2B3C4D
RESOLUTION = 9  # the option of an interface that says what its clock counts
LARGEST = 262144  # bytes of a frame
LINKS = (1, 113, 276)


class CaptureError(ValueError):
    """A capture file is not one, or is broken; one line for the user."""


def read(data: bytes) -> Iterator[tuple[float, bytes, int]]:
    """Yields (seconds since 1970, frame, bytes that it had on the wire) of a capture file.

    Raises:
        CaptureError: it is no capture of Ethernet frames, or it ends within a record.
    """
    records = _pcapng(data) if data[:4] == b"\n\r\r\n" else _pcap(data)
    for when, link, raw, size in records:
        frame = ethernet(link, raw)
        yield when, frame, max(len(frame), size + len(frame) - len(raw))


def _pcap(data: bytes) -> Iterator[tuple[float, int, bytes, int]]:
    order = "<" if data[:4] in (struct.pack("<I", MICROSECONDS), struct.pack("<I", NANOSECONDS)) else ">"
    magic = struct.unpack(order + "I", data[:4])[0] if len(data) >= 24 else 0
    if magic not in (MICROSECONDS, NANOSECONDS):
        raise CaptureError(f"not a pcap or pcapng file: begins with {data[:4].hex() or 'nothing'}")
    unit = 1e-9 if magic == NANOSECONDS else 1e-6
    link = _link(struct.unpack(order + "I", data[20:24])[0] & 0xFFFF)
    at = 24
    while at < len(data):
        if len(data) < at + 16:
            raise CaptureError(f"ends within the header of a record at byte {at}")
        seconds, fraction, length, size = struct.unpack(order + "IIII", data[at : at + 16])
        yield seconds + fraction * unit, link, _slice(data, at + 16, length), size
        at += 16 + length


def _slice(data: bytes, at: int, length: int) -> bytes:
    if length > LARGEST or len(data) < at + length:
        raise CaptureError(
            f"the record at byte {at} claims {length} bytes; the file has {max(0, len(data) - at)}"
        )
    return data[at : at + length]


def _link(number: int) -> int:
    if number not in LINKS:
        raise CaptureError(f"link type {number}; allowed: 1 (Ethernet), 113 and 276 (tcpdump -i any)")
    return number


def _pcapng(data: bytes) -> Iterator[tuple[float, int, bytes, int]]:
    order, interfaces, at = "<", [], 0
    while at < len(data):
        if len(data) < at + 12:
            raise CaptureError(f"ends within the header of a block at byte {at}")
        if data[at : at + 4] == b"\n\r\r\n":
            order = "<" if data[at + 8 : at + 12] == struct.pack("<I", ORDER_MARK) else ">"
            interfaces = []
        kind, length = struct.unpack(order + "II", data[at : at + 8])
        if length < 12 or length % 4 or len(data) < at + length:
            raise CaptureError(f"the block at byte {at} claims {length} bytes; the file has {len(data) - at}")
        body = data[at + 8 : at + length - 4]
        if kind == INTERFACE:
            interfaces.append(_interface(order, body))
        elif kind in (PACKET, OLD_PACKET, SIMPLE_PACKET):
            yield _packet(order, kind, body, interfaces, at)
        at += length


def _interface(order: str, body: bytes) -> tuple[int, float]:
    """Returns (link type, seconds that its clock counts in)."""
    if len(body) < 8:
        raise CaptureError("an interface of the pcapng file is cut short")
    unit, at = 1e-6, 8
    while at + 4 <= len(body):
        option, length = struct.unpack(order + "HH", body[at : at + 4])
        if option == RESOLUTION and length and at + 4 < len(body):
            value = body[at + 4]
            unit = 2.0 ** -(value & 0x7F) if value & 0x80 else 10.0**-value
        at += 4 + (length + 3) // 4 * 4
        if not option:
            break
    return struct.unpack(order + "H", body[:2])[0], unit


def _packet(order: str, kind: int, body: bytes, interfaces: list, at: int) -> tuple[float, int, bytes, int]:
    head = 4 if kind == SIMPLE_PACKET else 20
    if len(body) < head:
        raise CaptureError(f"the block at byte {at} is too short for a frame")
    which = when = 0
    if kind == SIMPLE_PACKET:
        (size,) = struct.unpack(order + "I", body[:4])
        length = min(size, len(body) - 4)
    else:
        which, high, low, length, size = struct.unpack(
            order + ("IIIII" if kind == PACKET else "HxxIIII"), body[:20]
        )
        when = high << 32 | low
    if which >= len(interfaces):
        raise CaptureError(f"the block at byte {at} names interface {which}; the file has {len(interfaces)}")
    link, unit = interfaces[which]
    return when * unit, _link(link), _slice(body, head, length), size


def ethernet(link: int, raw: bytes) -> bytes:
    """Returns a captured frame with an Ethernet header."""
    if link == 113 and len(raw) >= 16:
        kind, address, protocol, payload = raw[1], raw[6:12], raw[14:16], raw[16:]
    elif link == 276 and len(raw) >= 20:
        kind, address, protocol, payload = raw[10], raw[12:18], raw[:2], raw[20:]
    else:
        return raw
    return (b"\xff" if kind == 1 else b"\0") * 6 + address + protocol + payload
