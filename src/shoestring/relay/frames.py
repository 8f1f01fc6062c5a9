"""EAPOL frames and the EAP packets in them, as values that encode back to the very same bytes.

- Nothing is lost: VLAN tags, the vendor's trailer beyond the EAPOL length and Ethernet padding are all kept.
- Nothing is trusted: every length may lie, and a frame cut short is `Junk`, not an exception. Switches put their
  records within the EAP packet, beyond it or beyond the EAPOL length: `Frame.beyond` is all that may hold them.
- `decode(encode(f)) == f` and `encode(decode(b)) == b` for any bytes.

Source: IEEE 802.1X-2010 clause 11 (EAPOL), RFC 3748 section 4 (EAP), IEEE 802.1Q clause 9 (tags).
"""

from __future__ import annotations

import struct

from shoestring.relay.containers import namedtuple

ETHERTYPE = b"\x88\x8e"
TAG_TYPES = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
PAE_GROUP = bytes.fromhex("0180c2000003")
RUIJIE_GROUP = bytes.fromhex("01d0f8000003")
SHORTEST = 60  # bytes of an Ethernet frame without its checksum; less is padded

EAP, START, LOGOFF, ECHO = 0, 1, 2, 0xBF  # EAPOL types; ECHO is Ruijie's
REQUEST, RESPONSE, SUCCESS, FAILURE = (
    1,
    2,
    3,
    4,
)  # EAP codes; others, such as H3C's 10, are relayed as they are
IDENTITY, NOTIFICATION, NAK, MD5, TLS, TTLS, PEAP = 1, 2, 3, 4, 13, 21, 25  # EAP types
CLEAR, ONLINE = 7, 20  # H3C's: the password in clear, and a question to a client that is on line


class FrameError(ValueError):
    """A frame cannot be encoded, or a field of one does not fit."""


class Junk(namedtuple("Junk", "data")):
    """Bytes that are not an EAPOL frame: another EtherType, or cut off before the EAPOL header ended."""

    __slots__ = ()


class Frame(namedtuple("Frame", "dst src tags version type length body")):
    """One EAPOL frame.

    Args:
        dst: 6 bytes.
        src: 6 bytes.
        tags: 802.1Q tags, 4 bytes each, outermost first; mostly empty.
        version: EAPOL version; 1, 2 or 3 in the wild.
        type: `EAP`, `START`, `LOGOFF`, `ECHO` or a vendor's.
        length: what the frame claims to carry; `body` may be longer (trailer, padding) or shorter.
        body: everything after the EAPOL header, in bytes.
    """

    __slots__ = ()

    @property
    def eap(self) -> Eap | None:
        """The EAP packet, or None where there is none or its own length does not fit."""
        return decode_eap(self.body) if self.type == EAP else None

    @property
    def beyond(self) -> bytes:
        """Where a vendor's data may lie: behind what 802.1X and EAP define of this frame, padding included.

        In a Success or Failure that is all behind the four bytes of the EAP header, in a challenge all behind its
        value (RFC 3748 has a name there), in any other packet what lies beyond the EAP length.
        """
        eap = self.eap
        if eap is None:
            return b"" if self.type == EAP else self.body
        if eap.code not in (REQUEST, RESPONSE):
            return eap.data + eap.trailer
        if eap.code == REQUEST and eap.type == MD5 and len(eap.data) > 1:
            return eap.data[2 + eap.data[1] :] + eap.trailer
        return eap.trailer


class Eap(namedtuple("Eap", "code id data trailer missing", defaults=(0,))):
    """One EAP packet and what follows it.

    Args:
        code: `REQUEST`, `RESPONSE`, `SUCCESS`, `FAILURE` or a vendor's.
        id: the answer carries the id of its request.
        data: the packet after its four-byte header; its first byte is the type in a request or response.
        trailer: bytes beyond the EAP length: the vendor's data, then padding.
        missing: bytes that the EAP length claims and the frame does not have; below 0 where the length does not even
            count its own header. Only a packet without a type may have such a length: its meaning is in its code.
    """

    __slots__ = ()

    @property
    def type(self) -> int:
        """`IDENTITY`, `MD5`, ...; 0 in a Success or Failure, which have no type."""
        return self.data[0] if self.data and self.code in (REQUEST, RESPONSE) else 0


def decode(raw: bytes) -> Frame | Junk:
    """Returns the EAPOL frame in `raw` (Ethernet header first), or `Junk`; never raises.

    >>> frame = decode(PAE_GROUP + bytes(6) + bytes.fromhex("888e 01 01 0000"))
    >>> frame.type == START, encode(frame).hex()
    (True, '0180c2000003000000000000888e01010000')
    """
    at = 12
    while raw[at : at + 2] in TAG_TYPES:
        at += 4
    if raw[at : at + 2] != ETHERTYPE or len(raw) < at + 6:
        return Junk(raw)
    return Frame(
        raw[:6],
        raw[6:12],
        raw[12:at],
        raw[at + 2],
        raw[at + 3],
        raw[at + 4] << 8 | raw[at + 5],
        raw[at + 6 :],
    )


def encode(frame: Frame | Junk) -> bytes:
    """Returns the bytes of a frame.

    Raises:
        FrameError: an address, a tag or a number does not fit its field.
    """
    if isinstance(frame, Junk):
        return frame.data
    _check(frame)
    header = struct.pack(">BBH", frame.version, frame.type, frame.length)
    return b"".join((frame.dst, frame.src, frame.tags, ETHERTYPE, header, frame.body))


def _check(frame: Frame) -> None:
    if len(frame.dst) != 6 or len(frame.src) != 6:
        raise FrameError(f"address of {len(frame.dst)} and {len(frame.src)} bytes; both take 6")
    tags = [frame.tags[at : at + 4] for at in range(0, len(frame.tags), 4)]
    if any(len(tag) < 4 or tag[:2] not in TAG_TYPES for tag in tags):
        raise FrameError(f"tags {frame.tags.hex()}; a tag is 8100, 88a8 or 9100 and two more bytes")
    if not (0 <= frame.version <= 255 and 0 <= frame.type <= 255 and 0 <= frame.length <= 65535):
        raise FrameError(
            f"version {frame.version}, type {frame.type}, length {frame.length}; "
            "allowed: 0..255, 0..255, 0..65535"
        )


def decode_eap(body: bytes) -> Eap | None:
    """Returns the EAP packet at the start of `body`, or None where code or length make no sense."""
    if len(body) < 4 or not body[0]:
        return None
    length = body[2] << 8 | body[3]
    result = body[0] in (SUCCESS, FAILURE)  # which it is though its length lies
    if not result and not (5 if body[0] <= RESPONSE else 4) <= length <= len(body):
        return None
    end = min(max(4, length), len(body))
    return Eap(body[0], body[1], body[4:end], body[end:], length - end)


def encode_eap(eap: Eap) -> bytes:
    """Returns the bytes of an EAP packet and its trailer.

    Raises:
        FrameError: the data is longer than an EAP length can say, or code or id do not fit.
    """
    length = 4 + len(eap.data) + eap.missing
    if length > 65535 or not (0 < eap.code <= 255 and 0 <= eap.id <= 255):
        raise FrameError(f"code {eap.code}, id {eap.id}, {length} bytes; allowed: 1..255, 0..255, 65535")
    return struct.pack(">BBH", eap.code, eap.id, length) + eap.data + eap.trailer


def build(
    dst: bytes,
    src: bytes,
    type: int,
    body: bytes = b"",
    *,
    tags: bytes = b"",
    version: int = 1,
    beyond: bytes = b"",
) -> bytes:
    """Returns a whole padded frame; `body` is counted in the EAPOL length, `beyond` is not."""
    raw = encode(Frame(dst, src, tags, version, type, len(body), body + beyond))
    return raw.ljust(SHORTEST + len(tags), b"\0")


def is_group(mac: bytes) -> bool:
    """True for multicast and broadcast addresses."""
    return bool(mac[0] & 1)


def mac_text(mac: bytes) -> str:
    """Returns `00:11:22:33:44:55`."""
    return mac.hex(":")


def mac_bytes(text: str) -> bytes:
    """Returns the 6 bytes of `00:11:22:33:44:55`.

    Raises:
        FrameError: the text is not six bytes of hexadecimal.
    """
    try:
        mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise FrameError(f"address {text!r}; write it as 00:11:22:33:44:55")
    return mac
