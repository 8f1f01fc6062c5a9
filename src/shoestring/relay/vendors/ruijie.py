"""Ruijie's private data: the byte code, the echo, and the records of a switch.

- A switch's records lie within the EAP packet of a Success or Failure, beyond it, or behind the value of a challenge:
  all that `Frame.beyond` gives is searched from mark to mark, whatever the lengths say.
- A record's length counts its two header bytes, but not in a message (type 00); the record of 105 zeros before the key
  has its length and type wrong in every known frame.
- The key's record names a number beside the key: 300, the seconds after which a silent client is dropped, or 20, under
  which clients that echo every 30 s live: so a number below `SHORTEST_ALIVE` is no such limit.

Source: frames of real switches and clients, tests/relay/frames/ruijie-*.
"""

from __future__ import annotations

import struct

from shoestring.relay import frames
from shoestring.relay.frames import REQUEST, SUCCESS, Eap, Frame
from shoestring.relay.vendors.plain import Keepalive, Private
from shoestring.relay.vendors.texts import readable

MAGIC = bytes.fromhex("00001311")
CODE = bytes(0xFF ^ int(f"{value:08b}"[::-1], 2) for value in range(256))
CODED_MAGIC = MAGIC.translate(CODE)
KEY_DATA = 10  # bytes of a key's record up to the end of the key
SHORTEST_ALIVE = 60.0  # seconds
MESSAGE, KEY, ACCOUNTING, SERVICES = 0x00, 0x01, 0x3C, 0x66
MOST = 64  # more records than any switch sends


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


def scan(data: bytes) -> list[tuple[int, int, bytes]]:
    """Returns (type, claimed length, data) of each record of a switch; data runs to the next mark."""
    parts = data.split(MAGIC)[1 : MOST + 1]
    return [(part[0], part[1], part[2:]) for part in parts if len(part) >= 2]


def is_ruijie(frame: Frame) -> bool:
    """True where the frame bears Ruijie's mark: an echo, a client's trailer, a switch's records."""
    beyond = frame.beyond
    return frame.type == frames.ECHO or beyond.startswith(CODED_MAGIC) or MAGIC in beyond


def private(frame: Frame, eap: Eap | None) -> Private | None:
    """Returns an echo's key and number, the fields of a client's trailer, or the records of a switch."""
    if frame.type == frames.ECHO:
        parsed = parse_echo(frame.body)
        if parsed is None:
            return Private("ruijie", (("unknown", frame.body[:32].hex()),))
        return Private("ruijie", (("key", f"{parsed[0]:08x}"), ("number", f"{parsed[1]:#x}")))
    if not is_ruijie(frame):
        return None
    from shoestring.relay.vendors.ruijie_words import client_fields, record_fields

    beyond = frame.beyond
    client = beyond.startswith(CODED_MAGIC)
    return Private("ruijie", tuple(client_fields(beyond) if client else record_fields(beyond)))


def message(frame: Frame, eap: Eap | None) -> str:
    """Returns the switch's message to the user."""
    for type, length, data in scan(frame.beyond) if _speaks(eap) else ():
        if type == MESSAGE and (text := readable(data[:length] if 0 < length <= len(data) else data)):
            return text
    return ""


def accounting(frame: Frame, eap: Eap | None) -> str:
    """Returns what the switch says of the user's account."""
    for type, length, data in scan(frame.beyond) if _speaks(eap) else ():
        if type == ACCOUNTING and length > 2:
            return readable(data[: length - 2])
    return ""


def _speaks(eap: Eap | None) -> bool:
    return eap is not None and eap.code in (SUCCESS, frames.FAILURE, REQUEST)


def keepalive(frame: Frame, eap: Eap | None) -> Keepalive | None:
    """Returns the echo key of a Success, and the number of seconds beside it."""
    return echo_key(frame.beyond) if eap is not None and eap.code == SUCCESS else None


def echo_key(data: bytes) -> Keepalive | None:
    """Returns the key in the records of a switch.

    >>> echo_key(MAGIC + bytes.fromhex("0101 ffff3777af7fb391ad78ffff7fcbff"))
    Keepalive(key=846613217, alive=300)
    """
    for type, _, record in scan(data):
        if type == KEY and len(record) >= KEY_DATA and record[:4] == CODED_MAGIC:
            return Keepalive(*struct.unpack(">II", code(record[:14]).ljust(14, b"\0")[6:14]))
    return None


def user(data: bytes) -> bytes:
    """Returns the identity itself: it is the bare name."""
    return data.rstrip(b"\0")


def readdress(data: bytes, address: bytes) -> bytes:
    """Returns the identity as it is: Ruijie's clients carry their address in the trailer."""
    return data
