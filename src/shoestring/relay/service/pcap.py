"""The last frames in a bounded ring, written as a capture file with every secret blanked out.

- A challenge's answer gives a weak password away, and Ruijie's property 2F any password: both become zeros.
- What cannot be parsed in a client's response is blanked out whole rather than trusted.

Source: the libpcap file format (pcap-savefile(5)), link type 1.
"""

from __future__ import annotations

import struct

from shoestring.relay import frames
from shoestring.relay.containers import deque
from shoestring.relay.frames import IDENTITY, MD5, NAK, NOTIFICATION, PEAP, RESPONSE, TLS, TTLS, Frame, Junk
from shoestring.relay.vendors import ruijie_client

MAGIC = 0xA1B2C3D4
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
        seconds = (
            int(when) & 0xFFFFFFFF
        )  # the format's clock starts anew in 2106; a capture is still worth having
        parts.append(
            struct.pack("<IIII", seconds, round(when % 1 * 1e6) % 1_000_000, len(raw), len(raw)) + raw
        )
    return b"".join(parts)


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
        body = bytes(len(frame.body)) if blank else ruijie_client.redact(frame.body, False)
        return raw[: len(raw) - len(frame.body)] + body
    if eap.code != RESPONSE:
        return raw  # what a switch sends is no secret of ours
    return frames.encode(_redact_response(frame, eap))


def _redact_response(frame: Frame, eap: frames.Eap) -> Frame:
    data = eap.data
    if eap.type == MD5 and len(data) > 1:
        size = min(data[1], len(data) - 2)
        data = data[:2] + bytes(size) + data[2 + size :]
    elif eap.type not in HARMLESS:
        data = data[:1] + bytes(len(data) - 1)
    trailer = ruijie_client.redact(eap.trailer, eap.type != IDENTITY)
    head = frame.body[:4]
    return frame._replace(body=head + data + trailer)
