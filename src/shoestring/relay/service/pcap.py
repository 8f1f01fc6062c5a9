"""The last frames, and capture files: a bounded ring, written as pcap with every secret blanked out.

- A challenge's answer gives a weak password away, and Ruijie's property 2F any password: both become zeros.
- What cannot be parsed in a client's response is blanked out whole rather than trusted.

Source: the libpcap file format (pcap-savefile(5)), link type 1, both byte orders, micro- and nanoseconds.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator

from shoestring.relay import frames
from shoestring.relay.frames import IDENTITY, MD5, NAK, NOTIFICATION, PEAP, RESPONSE, TLS, TTLS, Frame, Junk
from shoestring.relay.vendors import ruijie

MAGIC = 0xA1B2C3D4
NANOSECONDS = 0xA1B23C4D
LARGEST = 262144
HARMLESS = (
    IDENTITY,
    NOTIFICATION,
    NAK,
    TLS,
    TTLS,
    PEAP,
    43,
)  # responses that carry no secret, or an encrypted one
SECRET_PROPERTIES = (ruijie.PASSWORD_HASH, ruijie.VENDOR_HASH)


class CaptureError(ValueError):
    """A capture file is not one, or is broken; one line for the user."""


class Ring:
    """The last frames that passed.

    Args:
        size: how many; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._frames: deque[tuple[float, bytes]] = deque(maxlen=size)
        self.add = self._frames.append  # of (seconds since 1970, frame); called for every frame

    def __len__(self) -> int:
        return len(self._frames)

    def pcap(self) -> bytes:
        """Returns a capture file of the frames, without secrets."""
        return write((when, redact(raw)) for when, raw in self._frames)


def write(records) -> bytes:
    """Returns a capture file of (seconds, frame) records."""
    parts = [struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, LARGEST, 1)]
    for when, raw in records:
        parts.append(struct.pack("<IIII", int(when), int(when % 1 * 1e6), len(raw), len(raw)) + raw)
    return b"".join(parts)


def read(data: bytes) -> Iterator[tuple[float, bytes]]:
    """Yields (seconds, frame) of a capture file.

    Raises:
        CaptureError: it is not a pcap file of Ethernet frames, or it ends within a record.
    """
    order = "<" if data[:4] in (struct.pack("<I", MAGIC), struct.pack("<I", NANOSECONDS)) else ">"
    if len(data) < 24 or struct.unpack(order + "I", data[:4])[0] not in (MAGIC, NANOSECONDS):
        hint = "; a pcapng file? convert it: editcap -F pcap IN OUT" if data[:4] == b"\n\r\r\n" else ""
        raise CaptureError(f"not a pcap file: begins with {data[:4].hex() or 'nothing'}{hint}")
    unit = 1e-9 if struct.unpack(order + "I", data[:4])[0] == NANOSECONDS else 1e-6
    link = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF
    if link != 1:
        raise CaptureError(f"link type {link}; only 1, Ethernet, can be decoded")
    at = 24
    while at < len(data):
        if len(data) < at + 16:
            raise CaptureError(f"ends within the header of a record at byte {at}")
        seconds, fraction, length, _ = struct.unpack(order + "IIII", data[at : at + 16])
        if length > LARGEST or len(data) < at + 16 + length:
            raise CaptureError(
                f"the record at byte {at} claims {length} bytes; the file has {len(data) - at - 16}"
            )
        yield seconds + fraction * unit, data[at + 16 : at + 16 + length]
        at += 16 + length


def redact(raw: bytes) -> bytes:
    """Returns the frame with hashes, challenge answers and clear-text secrets as zeros; lengths stay."""
    frame = frames.decode(raw)
    if isinstance(frame, Junk):
        return raw
    eap = frame.eap
    if frame.type == frames.ECHO:
        return raw
    if eap is None:
        blank = frame.type == frames.EAP  # broken, so it may hold anything
        body = bytes(len(frame.body)) if blank else _redact_trailer(frame.body, False)
        return raw[: len(raw) - len(frame.body)] + body
    if eap.code != RESPONSE:
        return raw
    return frames.encode(_redact_response(frame, eap))


def _redact_response(frame: Frame, eap: frames.Eap) -> Frame:
    data = eap.data
    if eap.type == MD5 and len(data) > 1:
        size = min(data[1], len(data) - 2)
        data = data[:2] + bytes(size) + data[2 + size :]
    elif eap.type not in HARMLESS:
        data = data[:1] + bytes(len(data) - 1)
    trailer = _redact_trailer(eap.trailer, eap.type != IDENTITY)
    head = frame.body[:4]
    return frame._replace(body=head + data + trailer)


def _redact_trailer(trailer: bytes, secret: bool) -> bytes:
    parsed = ruijie.parse_trailer(trailer)
    if parsed is None:
        return bytes(len(trailer)) if secret or trailer.startswith(ruijie.CODED_MAGIC) else trailer
    out = bytearray(trailer)
    for type, data, at in parsed.properties:
        if type in SECRET_PROPERTIES:
            out[at : at + len(data)] = bytes(len(data))
    if any(parsed.rest):
        out[parsed.start :] = bytes(len(parsed.rest))
    return bytes(out)
