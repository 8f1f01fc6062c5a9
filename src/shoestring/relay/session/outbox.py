"""What one step of a session gives out: frames rewritten for the other side, log lines, hooks; it counts them too."""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import START, Frame
from shoestring.relay.session.effects import LAN, WAN, Hook, Say, Send
from shoestring.relay.session.peers import Peers
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import ruijie

STRANGERS = 16  # that many addresses are named in the log
COUNTERS = ("to_switch", "to_client", "answered", "echoes", "strangers", "junk", "unexpected", "link_down")


class Outbox:
    """Effects in order, until `take`.

    Args:
        settings: whether payloads and source addresses are rewritten.
        peers: where frames go.
    """

    def __init__(self, settings: Settings, peers: Peers) -> None:
        self.settings = settings
        self.peers = peers
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.wan_up = True
        self._strangers: set[bytes] = set()
        self._effects: list[Send | Say | Hook] = []

    def take(self) -> list[Send | Say | Hook]:
        """Returns the effects and forgets them."""
        effects, self._effects = self._effects, []
        return effects

    def pass_to_switch(self, frame: Frame, raw: bytes, mac: bytes, addresses: ruijie.Header | None) -> None:
        """Passes a frame of the PC on, as from the router's address; its trailer too where settings say so."""
        eap = frame.eap
        rest = raw[12:]
        if self.settings.payload != "off" and (frame.type in (START, frames.LOGOFF) or eap is not None):
            trailer = frame.body if eap is None else eap.trailer
            header = addresses if self.settings.payload == "all" else None
            rest = rest[: len(rest) - len(trailer)] + ruijie.rewrite(trailer, mac, header)
        self.counters["to_switch"] += 1
        dst = self.peers.towards_server(frame.dst if frames.is_group(frame.dst) else None)
        self.send(dst + mac + rest)

    def pass_to_client(self, frame: Frame, raw: bytes, mac: bytes) -> None:
        """Passes a frame of the switch on to the PC."""
        src = mac if self.settings.rewrite_source else frame.src
        self.counters["to_client"] += 1
        self._effects.append(Send(LAN, self.peers.towards_client() + src + raw[12:]))

    def send(self, data: bytes) -> None:
        """Sends a whole frame to the switch, if there is a link."""
        if self.wan_up:
            self._effects.append(Send(WAN, data))
        else:
            self.counters["link_down"] += 1

    def say(self, level: str, text: str) -> None:
        """Adds a line to the log."""
        self._effects.append(Say(level, text))

    def hook(self, event: str, values: dict[str, str]) -> None:
        """Calls the hooks of an event."""
        self._effects.append(Hook(event, values))

    def stranger(self, role: str, frame: Frame) -> None:
        """Counts a frame of somebody who is not served."""
        self.counters["strangers"] += 1
        if frame.src not in self._strangers and len(self._strangers) < STRANGERS:
            self._strangers.add(frame.src)
            who = frames.mac_text(frame.src)
            self.say("info", f"dropping frames of {who}, which is not the locked {role}")
