"""One WAN/LAN pair as a pure state machine: frames, clock and link in; frames, log lines and hooks out.

- `table` has all states and the ways between them; here is what is done on the way.
- A request goes to the PC first while the PC is there; where it does not answer in time, the relay does if it can.
- No clock, no sockets, no randomness: the same input gives the same output, so a month runs in seconds.

Source: IEEE 802.1X-2010 clause 8 (what both ends expect); behaviour in the field as told in docs/relay.md.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import Frame, Junk
from shoestring.relay.session.downstream import Downstream
from shoestring.relay.session.effects import WAN
from shoestring.relay.session.snapshot import Remembered
from shoestring.relay.session.table import PROVEN
from shoestring.relay.session.upstream import Upstream


class Session(Downstream, Upstream, Remembered):
    """The state of one pair; made and read as `Core` says."""

    def feed(self, side: str, raw: bytes, now: float) -> tuple[list, float | None]:
        """Takes a received frame; returns what to do and the next deadline. No bytes make it raise."""
        self.now = now
        frame = frames.decode(raw)
        if isinstance(frame, Junk):
            self.counters["junk"] += 1
        elif frame.src == (
            self.wan_mac if side == WAN else self.lan_mac
        ):  # a clone of the PC's is fine on the other
            self.counters["unexpected"] += 1
        elif side == WAN:
            self._from_switch(frame)
        else:
            self._from_client(frame)
        return self._done()

    def tick(self, now: float) -> tuple[list, float | None]:
        """Does what is due; returns as `feed` does."""
        timers = self.machine.timers
        if not timers or min(timers.values()) > now:
            return [], self.deadline
        self.now = now
        due = {"silence": self._login_silent, "answer": self._answer_pending, "echo": self._write_echo,
               "login": self._login, "next": self._next_step, "link": self._link_lost, "start": self._own_start,
               "doubt": self._lapse, "calm": self._calm, "grace": self._refused}  # fmt: skip
        for name in [name for name, when in timers.items() if when <= now]:
            if timers.pop(name, None) is not None:  # an earlier one may have stopped it
                due[name]()
        return self._done()

    def link(self, side: str, up: bool, now: float, mac: bytes | None = None) -> tuple[list, float | None]:
        """Takes a change of link, or of the router's own address on that side; returns as `feed` does."""
        self.now = now
        if mac is not None:
            self.wan_mac, self.lan_mac = (mac, self.lan_mac) if side == WAN else (self.wan_mac, mac)
        if side == WAN:
            self._wan_link(up)
        elif not up:
            self.peers.client_left = True  # another PC may be plugged in
            if self.present:
                self._pc_gone("its link went down")
        return self._done()

    def goodbye(self, now: float) -> tuple[list, float | None]:
        """Ends the session on the switch: sends a Logoff."""
        self.now = now
        if self.machine.proof in PROVEN:
            dst, tags = self.peers.towards_server(), self.peers.server_tags or b""
            self._out.send_own(Frame(dst, self.wan_mac, tags, 1, frames.LOGOFF, 0, b""))
        self._lose("the relay was told to log off", relogin=False)
        return self._done()
