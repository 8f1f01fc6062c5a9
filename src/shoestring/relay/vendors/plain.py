"""802.1X without a vendor, and the interface that every module of this folder has.

- `private(frame, eap)` returns the vendor's data in the frame as a `Private`, or None where it bears no mark of his.
- `message(frame, eap)` returns what the switch says to the user, `accounting(frame, eap)` what it says of his account;
  both empty where it says nothing.
- `keepalive(frame, eap)` returns the `Keepalive` that a Success grants, or None.
- `user(data)` returns the user's name within an identity (its bytes behind the EAP type), and `readdress(data,
  address)` the same identity with the IPv4 address that it carries replaced.

Source: RFC 3748 section 5.2 (Notification).
"""

from __future__ import annotations

from shoestring.relay.containers import namedtuple
from shoestring.relay.frames import NOTIFICATION, REQUEST, Eap, Frame
from shoestring.relay.vendors.texts import readable


class Private(namedtuple("Private", "vendor fields")):
    """A vendor's data in one frame: the vendor's name, and (what, value in words) of each field in order."""

    __slots__ = ()


class Keepalive(namedtuple("Keepalive", "key alive")):
    """The key of a Ruijie echo, and the number of seconds that the switch names beside it (300 or 20 in the field)."""

    __slots__ = ()


def private(frame: Frame, eap: Eap | None) -> Private | None:
    """Returns None: nothing here is a vendor's."""
    return None


def message(frame: Frame, eap: Eap | None) -> str:
    """Returns the text of a Notification."""
    asked = eap is not None and eap.code == REQUEST and eap.type == NOTIFICATION
    return readable(eap.data[1:]) if asked and eap is not None else ""


def accounting(frame: Frame, eap: Eap | None) -> str:
    """Returns nothing."""
    return ""


def keepalive(frame: Frame, eap: Eap | None) -> Keepalive | None:
    """Returns None: plain switches ask, and nobody needs to speak unasked."""
    return None


def user(data: bytes) -> bytes:
    """Returns the identity itself, without the NULs that some clients pad it with."""
    return data.rstrip(b"\0")


def readdress(data: bytes, address: bytes) -> bytes:
    """Returns the identity as it is: it carries no address."""
    return data
