"""Which switch is this: plain 802.1X, Ruijie or H3C. The one place that knows all vendors.

- `ruijie`: a frame of either side bears Ruijie's mark.
- `h3c`: a frame bears H3C's mark, or the switch asks an on-line client for its identity again and again and for nothing
  else (the vendor's "on-line user handshake", every 15 s unless configured).
- `plain`: neither has been seen. What keeps the session alive never depends on the name, only on what was learned.
"""

from __future__ import annotations

from shoestring.relay.frames import IDENTITY, Eap, Frame
from shoestring.relay.vendors import cernet, h3c, plain, ruijie
from shoestring.relay.vendors.plain import Keepalive, Private

VENDORS = (ruijie, h3c, cernet, plain)  # the first that finds his mark in a frame reads it
HANDSHAKES = 3  # this many in a row, and it is no re-authentication


def private(frame: Frame) -> Private | None:
    """Returns the vendor's data of a frame, or None where it has none."""
    eap = frame.eap
    return next((found for vendor in VENDORS if (found := vendor.private(frame, eap))), None)


def message(frame: Frame, eap: Eap | None) -> str:
    """Returns what a switch says to the user, empty where it says nothing."""
    return next((text for vendor in VENDORS if (text := vendor.message(frame, eap))), "")


def accounting(frame: Frame, eap: Eap | None) -> str:
    """Returns what a switch says of the user's account, empty where it says nothing."""
    return next((text for vendor in VENDORS if (text := vendor.accounting(frame, eap))), "")


def keepalive(frame: Frame, eap: Eap | None) -> Keepalive | None:
    """Returns the key that a Success grants, or None."""
    return next((found for vendor in VENDORS if (found := vendor.keepalive(frame, eap))), None)


def user(identity: bytes) -> bytes:
    """Returns the user's name within an identity, without the vendor's fields around it."""
    return _reader(identity).user(identity)


def readdress(identity: bytes, address: bytes) -> bytes:
    """Returns an identity with the IPv4 address replaced that some vendors' carry; address zero keeps it."""
    return _reader(identity).readdress(identity, address) if any(address) else identity


def _reader(identity: bytes):
    return cernet if cernet.is_identity(identity) else h3c  # which leaves every other one as it is


class Dialect:
    """Watches the frames of one session and names the switch's dialect."""

    def __init__(self) -> None:
        self.name = "plain"
        self._handshakes = 0

    def hear(self, frame: Frame) -> None:
        """Takes note of any frame of a locked peer."""
        if self.name == "ruijie":
            return
        if ruijie.is_ruijie(frame):
            self.name = "ruijie"
        elif self.name == "plain" and (found := h3c.private(frame, frame.eap)) and found.vendor == "h3c":
            self.name = "h3c"

    def asked_online(self, request: Eap) -> None:
        """Takes note of a request to a client that is on line."""
        self._handshakes = self._handshakes + 1 if request.type == IDENTITY else 0
        if self.name == "plain" and self._handshakes >= HANDSHAKES:
            self.name = "h3c"

    def logged_in(self) -> None:
        """A Success ends a re-authentication: the requests before it were no handshakes."""
        self._handshakes = 0


def strategy(allowed: frozenset[str], echo: bool, identity: bool, password: bool) -> str:
    """Returns the name of what keeps the session alive, the best first.

    Args:
        allowed: a value of `KEEPALIVES`.
        echo: an echo key is known.
        identity: the user's name is known.
        password: a password is configured.
    """
    if echo and "ruijie-echo" in allowed:
        return "ruijie-echo"
    if identity and "identity" in allowed:
        return "md5" if password and "md5" in allowed else "identity"
    return "none"
