"""CERNET's client: an identity with addresses and a version in it.

- Behind the EAP type come 01, its address, mask and gateway, four bytes ff, eight characters of a version such as
  "03.02.05", and the user's name.
- Its keep-alive, EAPOL type 6 and nothing but a5 in it, is passed on and not repeated: nobody has shown what makes the
  client send it (a timer, or the switch's type 5, which is MKA elsewhere), and 802.1X-2010 uses both types otherwise.

Source: what public clients of that network send, tests/relay/frames/cernet-*.
"""

from __future__ import annotations

from shoestring.relay.frames import IDENTITY, RESPONSE, Eap, Frame
from shoestring.relay.vendors.plain import Keepalive, Private
from shoestring.relay.vendors.texts import readable

FIRST, UNKNOWN = b"\1", b"\xff" * 4
KEEPALIVE, FILLING = 6, 0xA5
ADDRESSES, VERSION, NAME = slice(1, 13), slice(17, 25), 25


def private(frame: Frame, eap: Eap | None) -> Private | None:
    """Returns the fields of an identity."""
    if eap is None or eap.code != RESPONSE or eap.type != IDENTITY or not is_identity(eap.data[1:]):
        return None
    data = eap.data[1:]
    words = [".".join(map(str, data[at : at + 4])) for at in (1, 5, 9)]
    fields = [*zip(("address", "mask", "gateway"), words), ("version", readable(data[VERSION]))]
    return Private("cernet", (*fields, ("user", readable(data[NAME:]))))


def is_keepalive(frame: Frame) -> bool:
    """True for the frame by which a client of CERNET's keeps its session."""
    return (
        frame.type == KEEPALIVE and not frame.length and len(frame.body) > 8 and set(frame.body) == {FILLING}
    )


def is_identity(data: bytes) -> bool:
    """True where an identity is CERNET's."""
    version = data[VERSION]
    return (
        data[:1] == FIRST
        and data[13:17] == UNKNOWN
        and version.replace(b".", b"").isdigit()
        and len(version) == 8
    )


def message(frame: Frame, eap: Eap | None) -> str:
    """Returns nothing: no words of such a switch are known."""
    return ""


def accounting(frame: Frame, eap: Eap | None) -> str:
    """Returns nothing."""
    return ""


def keepalive(frame: Frame, eap: Eap | None) -> Keepalive | None:
    """Returns None: a Success grants no key."""
    return None


def user(data: bytes) -> bytes:
    """Returns the user's name in an identity of CERNET's.

    >>> user(FIRST + bytes(12) + UNKNOWN + b"03.02.05alice")
    b'alice'
    """
    return data[NAME:]


def readdress(data: bytes, address: bytes) -> bytes:
    """Returns an identity of CERNET's with its address replaced; mask and gateway stay the PC's."""
    return data[:1] + address + data[5:]
