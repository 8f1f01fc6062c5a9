"""What the PC's frames do to a session."""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import RESPONSE, START, Eap, Frame
from shoestring.relay.session.core import Core
from shoestring.relay.session.keepalive import Echo
from shoestring.relay.session.table import HELD, PROVEN, Event, Login, Proof
from shoestring.relay.vendors import cernet, ruijie


class Downstream(Core):
    """The half of a session that listens to the LAN side."""

    def _from_client(self, frame: Frame) -> None:
        proven, before = self.machine.proof in PROVEN, self.client
        if not self.peers.hear_client(frame, self.now, proven, self._guests_allowed):
            self._out.stranger("client", frame)
            return
        if before is not None and before != frame.src:
            self._say("info", f"another PC: {frames.mac_text(frame.src)}, after {frames.mac_text(before)}")
        eap = frame.eap
        self.dialect.hear(frame)
        if frame.type == START and proven and self.settings.starts == "none":
            self.machine.on(Event.SPEAK)
            self.counters["unexpected"] += 1
            return
        if frame.type == frames.LOGOFF:
            self._client_leaves()
            if self.settings.logoff == "drop":
                return
        elif frame.type == START:
            self._client_starts(frame)
        else:
            self.machine.on(Event.SPEAK)
            if frame.type == frames.ECHO and not self._client_echoes(frame):
                return
            if cernet.is_keepalive(frame):
                self._complain(
                    "CERNET's keep-alive is passed on, and is not repeated when the PC leaves: it must stay"
                )
            if eap is not None and eap.code == RESPONSE:
                self._client_responds(frame, eap)
        self._login_goes_on()
        self._out.pass_to_switch(frame, self.wan_mac)

    @property
    def _guests_allowed(self) -> bool:
        """Whether a PC that has not proven anything may log in although a session stands."""
        return self.settings.starts == "all" or self.machine.proof == Proof.LAPSED

    def _client_starts(self, frame: Frame) -> None:
        self.memory.forget_heard()
        self.memory.heard.start = frame
        self._notice = self._news = ""
        if self.machine.proof not in PROVEN:
            self.peers.forget_server()
            self._answered = None
        if self.machine.login != Login.PC:
            self._say("info", f"PC {frames.mac_text(frame.src)} starts a login")
        self._begin()

    def _begin(self) -> None:
        self._starts, self._pending = 0, None
        self.machine.stop("answer")
        self.machine.on(Event.BEGIN)
        self.machine.set("silence", self.now + self._login_pause)

    def _client_responds(self, frame: Frame, eap: Eap) -> None:
        self.memory.hear(frame, eap)
        self._answered, self._pending = self.peers.rival or self.peers.server or frame.dst, None
        self.machine.stop("answer")
        if self.machine.proof == Proof.NONE and self.machine.login != Login.PC:
            self._begin()
        elif self.machine.proof in HELD and self.machine.login == Login.IDLE:
            if frame.src == self.peers.proven_client:
                self.memory.confirm()
            self._sign_of_life(eap.type)

    def _client_leaves(self) -> None:
        self.peers.client_left = True
        if self.settings.logoff == "drop":
            self._pc_gone("it logged off, which the switch was not told")
        else:
            self.machine.on(Event.LEAVE)
            if self.machine.proof in PROVEN:
                self._lose("the PC logged off", relogin=False)

    def _client_echoes(self, frame: Frame) -> bool:
        parsed = ruijie.parse_echo(frame.body)
        if parsed is None or "ruijie-echo" not in self._allowed or self.machine.proof not in HELD:
            return True
        if self.echo is None:
            self.echo = Echo(self.now, interval=self.settings.echo_interval, pc_present=True)
        self.revision += 1
        return self.echo.hear(*parsed, self.now)

    def _login_goes_on(self) -> None:
        if self.machine.login == Login.PC:
            self.machine.set("silence", self.now + self._login_pause)
