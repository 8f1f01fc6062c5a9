"""Which switch is this: plain 802.1X, Ruijie or H3C. Told from what it does, for the log and the status.

- `ruijie`: a frame of either side bears Ruijie's mark.
- `h3c`: the switch asks an on-line client for its identity again and again, and for nothing else (the
  vendor's
  "on-line user handshake", every 15 s unless configured; a client that misses a few is put off line).
- `plain`: neither has been seen. What keeps the session alive never depends on the name, only on what was
  learned.
"""

from __future__ import annotations

from shoestring.relay.frames import IDENTITY, Eap, Frame
from shoestring.relay.vendors import ruijie

HANDSHAKES = 3  # this many in a row, and it is no re-authentication


class Dialect:
    """Watches the frames of one session and names the switch's dialect."""

    def __init__(self) -> None:
        self.name = "plain"
        self._handshakes = 0

    def hear(self, frame: Frame, eap: Eap | None) -> None:
        """Takes note of any frame of a locked peer, and the packet in it."""
        if self.name != "ruijie" and ruijie.is_ruijie(frame, eap):
            self.name = "ruijie"

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
