"""What one step of a session gives out: frames rewritten for the other side, log lines, hooks; it counts them too.

- Each side sees VLAN and priority tags as it sends them itself.
- Payloads are rewritten in what the PC says and in what is said in its place alike.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import IDENTITY, ONLINE, RESPONSE, START, Frame
from shoestring.relay.session.effects import LAN, WAN, Hook, Say, Send
from shoestring.relay.session.peers import Peers
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import dialects, ruijie_client

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
        self.addresses: ruijie_client.Header | None = None  # of the WAN interface
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.wan_up = True
        self._strangers: set[bytes] = set()
        self._effects: list[Send | Say | Hook] = []

    def take(self) -> list[Send | Say | Hook]:
        """Returns the effects and forgets them."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def address(self) -> bytes:
        """The router's IPv4 address towards the switch, zeros where it is not known."""
        return bytes(4) if self.addresses is None else self.addresses.address

    def pass_to_switch(self, frame: Frame, mac: bytes) -> None:
        """Passes a frame of the PC on, as from the router's address."""
        self.counters["to_switch"] += 1
        tags = frame.tags if self.peers.server_tags is None else self.peers.server_tags
        dst = self.peers.towards_server(frame.dst if frames.is_group(frame.dst) else None)
        self.send(self.rewritten(frame._replace(dst=dst, src=mac, tags=tags)))

    def rewritten(self, frame: Frame) -> Frame:
        """Returns a frame of the PC with the router's addresses within the vendor's data, where settings say so."""
        if self.settings.payload == "off" or frame.type not in (START, frames.LOGOFF, frames.EAP):
            return frame
        eap, every = frame.eap, self.settings.payload == "all"
        trailer = frame.body if eap is None else eap.trailer
        header = self.addresses if every else None
        body = frame.body[: len(frame.body) - len(trailer)]
        if every and eap is not None and eap.code == RESPONSE and eap.type in (IDENTITY, ONLINE):
            body = body[:5] + dialects.readdress(eap.data[1:], self.address)
        return frame._replace(body=body + ruijie_client.rewrite(trailer, frame.src, header))

    def pass_to_client(self, frame: Frame, mac: bytes) -> None:
        """Passes a frame of the switch on to the PC."""
        peers = self.peers
        src = mac if self.settings.rewrite_source else frame.src
        tags = frame.tags if peers.client_tags is None or peers.client_left else peers.client_tags
        self.counters["to_client"] += 1
        self._effects.append(
            Send(LAN, frames.encode(frame._replace(dst=peers.towards_client(), src=src, tags=tags)))
        )

    def send_own(self, frame: Frame) -> None:
        """Sends a frame of our own making, padded as a card pads it."""
        short = frames.SHORTEST - 18  # behind two addresses, EtherType and EAPOL header
        self.send(frame._replace(body=frame.body.ljust(short, b"\0")))

    def send(self, frame: Frame) -> None:
        """Sends a frame to the switch, if there is a link."""
        if self.wan_up:
            self._effects.append(Send(WAN, frames.encode(frame)))
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
