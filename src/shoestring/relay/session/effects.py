"""What a session wants done, as values: send a frame, tell the log, call a hook."""

from __future__ import annotations

from shoestring.relay.containers import namedtuple

WAN, LAN = "wan", "lan"


class State:
    """Where a session stands, in one word."""

    WAITING = "waiting"  # for a PC to log in
    RELAYING = "relaying"  # a login is under way
    ONLINE = "online"  # the switch has let us in, and we keep it so
    BACKOFF = "backoff"  # a login failed; another follows after a pause


class Send(namedtuple("Send", "side frame")):
    """Send `frame` (whole, Ethernet header first) on `WAN` or `LAN`."""

    __slots__ = ()


class Say(namedtuple("Say", "level text")):
    """Tell the log; level is `debug`, `info` or `warning`."""

    __slots__ = ()


class Hook(namedtuple("Hook", "event values")):
    """An event of `settings.EVENTS` happened; `values` are for its environment."""

    __slots__ = ()
