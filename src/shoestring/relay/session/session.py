"""One WAN/LAN pair as a pure state machine: frames, clock and link in; frames, log lines and hooks out.

- WAITING -> RELAYING -> ONLINE, and BACKOFF between logins of our own; the LAN side stays open in all of
  them.
- A request goes to the PC first while the PC is there; where it does not answer in time, the relay does if it
  can.
- No clock, no sockets, no randomness: the same input gives the same output, so a month runs in seconds.

Source: IEEE 802.1X-2010 clause 8 (what both ends expect); behaviour in the field as told in docs/relay.md.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import REQUEST, RESPONSE, START, SUCCESS, Eap, Frame, Junk
from shoestring.relay.session.effects import WAN, State
from shoestring.relay.session.keepalive import Echo, Memory
from shoestring.relay.session.outbox import Outbox
from shoestring.relay.session.peers import Peers
from shoestring.relay.settings.settings import KEEPALIVES, Settings
from shoestring.relay.vendors import ruijie
from shoestring.relay.vendors.dialects import Dialect, strategy

PATIENCE = 2.0  # seconds for a PC that is there to answer a request, before the relay does
LOGIN_PAUSE = 10.0  # seconds of silence after which a returning PC's login counts as given up
LOGIN_LIMIT = 30.0  # seconds that a login of our own may take
LINK_PATIENCE = 60.0  # seconds without WAN link before the session counts as lost
DOUBT = 90.0  # seconds after an unanswered request until the switch has surely given up; hostapd takes 80
STARTS = (1.0, 3.0, 9.0, 27.0, 60.0)  # pauses between our own Starts once the link is back
BACKOFF_FIRST, BACKOFF_LAST = 2.0, 300.0
STABLE = 300.0  # seconds on line after which a failure starts the back-off afresh


class Session:
    """The state of one pair.

    Args:
        settings: how it behaves.
        wan_mac: the router's address towards the switch.
        lan_mac: the router's address towards the PC.
        now: seconds on any clock that only goes forward.
    """

    def __init__(self, settings: Settings, wan_mac: bytes, lan_mac: bytes, now: float = 0.0) -> None:
        self.settings = settings
        self.wan_mac, self.lan_mac = wan_mac, lan_mac
        self.now = now
        self.state = State.WAITING
        self.peers = Peers(settings.client_timeout, now)
        self.present = False  # the PC is there and answers
        self.memory = Memory(settings.identity, settings.password)
        self.dialect = Dialect()
        self.echo: Echo | None = None
        self.addresses: ruijie.Header | None = None  # of the WAN interface, for --payload all
        self.step = 0  # logins done of `settings.successes`
        self.online_since: float | None = None
        self.last_message = ""
        self._allowed = KEEPALIVES[settings.keepalive]
        self._alone = False  # this login is our own
        self._failures = 0
        self._starts = 0
        self._pending: Frame | None = None  # a request that the PC may still answer
        self._timers: dict[str, float] = {}
        self._out = Outbox(settings, self.peers)
        if settings.identity is not None and settings.password is not None and settings.relogin:
            self._timers["login"] = now + BACKOFF_FIRST

    @property
    def client(self) -> bytes | None:
        """The address of the PC that is served, or None."""
        return self.peers.client

    @property
    def server(self) -> bytes | None:
        """The address of the switch that is trusted, or None."""
        return self.peers.server

    @property
    def counters(self) -> dict[str, int]:
        """How many frames went which way."""
        return self._out.counters

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called, or None while only a frame can change anything."""
        return min(self._timers.values()) if self._timers else None

    @property
    def strategy(self) -> str:
        """What keeps the session alive: `ruijie-echo`, `md5`, `identity` or `none`."""
        key = self.echo is not None and self.echo.key is not None
        return strategy(self._allowed, key, self.memory.user is not None, self.memory.password is not None)

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
            self._from_switch(frame, raw)
        else:
            self._from_client(frame, raw)
        return self._done()

    def tick(self, now: float) -> tuple[list, float | None]:
        """Does what is due; returns as `feed` does."""
        if not self._timers or min(self._timers.values()) > now:
            return [], self.deadline
        self.now = now
        due = {"client": self._client_silent, "answer": self._answer_pending, "echo": self._write_echo,
               "login": self._login, "link": self._link_lost, "start": self._own_start,
               "doubt": self._doubt}  # fmt: skip
        for name in [name for name, when in self._timers.items() if when <= now]:
            if self._timers.pop(name, None) is not None:  # an earlier one may have cleared it
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

    def _done(self) -> tuple[list, float | None]:
        if self.echo is not None and self.state is not State.BACKOFF and self.echo.key is not None:
            self._timers["echo"] = self.echo.due
        else:
            self._timers.pop("echo", None)
        return self._out.take(), self.deadline

    # From the PC

    def _from_client(self, frame: Frame, raw: bytes) -> None:
        eap, before = frame.eap, self.client
        if not self.peers.hear_client(frame, self.now):
            self._out.stranger("client", frame)
            return
        if before is not None and before != frame.src:
            self._say("info", f"another PC: {frames.mac_text(frame.src)}, after {frames.mac_text(before)}")
        self.present = True
        if "client" in self._timers:
            self._timers["client"] = self.now + self._login_pause
        self.dialect.hear(frame, eap)
        if frame.type == START:
            self._client_starts(frame)
        elif frame.type == frames.LOGOFF:
            self._client_leaves()
            if self.settings.logoff == "drop":
                return
        elif frame.type == frames.ECHO and not self._client_echoes(frame):
            return
        elif eap is not None and eap.code == RESPONSE:
            self._client_responds(frame, eap)
        self._out.pass_to_switch(frame, raw, self.wan_mac, self.addresses)

    def _client_starts(self, frame: Frame) -> None:
        self.memory.start = frame
        if not self._established:
            self.peers.server = None
        if self.state is not State.RELAYING or self._alone:
            self._say("info", f"PC {frames.mac_text(frame.src)} starts a login")
        self._begin_login()

    def _client_responds(self, frame: Frame, eap: Eap) -> None:
        self.memory.hear(frame, eap)
        self._pending = None
        self._timers.pop("answer", None)
        self._timers.pop("doubt", None)
        if self.state in (State.WAITING, State.BACKOFF):
            self._begin_login()

    def _client_leaves(self) -> None:
        self.peers.client_left = True
        if self.settings.logoff == "drop":
            self._pc_gone("it logged off, which the switch was not told")
        elif self._established:
            self._lose("the PC logged off", relogin=False)

    def _client_echoes(self, frame: Frame) -> bool:
        parsed = ruijie.parse_echo(frame.body)
        if parsed is None or "ruijie-echo" not in self._allowed or not self._established:
            return True
        if self.echo is None:
            self.echo = Echo(self.now, interval=self.settings.echo_interval, pc_present=True)
        return self.echo.hear(*parsed, self.now)

    @property
    def _established(self) -> bool:
        return self.step > 0

    @property
    def _login_pause(self) -> float:
        return LOGIN_PAUSE if self._established else self.settings.client_timeout

    def _begin_login(self) -> None:
        self.state, self._alone, self._starts = State.RELAYING, False, 0
        for name in ("login", "start", "answer", "doubt"):
            self._timers.pop(name, None)
        self._timers["client"] = self.now + self._login_pause

    def _client_silent(self) -> None:
        """A login has come to nothing: back to where it started from."""
        if self._alone:
            self._lose("the switch does not answer")
        elif self._established:
            self.state = State.ONLINE
            self._pc_gone("it has not finished its login")
        else:
            self.state = State.WAITING

    def _pc_gone(self, why: str) -> None:
        self.present = False
        if self.state is State.RELAYING and not self._alone:
            self._timers.pop("client", None)
            self.state = State.ONLINE if self._established else State.WAITING
        if self._established:
            self._say("info", f"PC gone: {why}; keeping the session by {self.strategy}")
        if self.echo is not None:
            self.echo.pc_left(self.now)
        self._answer_pending()

    # From the switch

    def _from_switch(self, frame: Frame, raw: bytes) -> None:
        eap = frame.eap
        if frame.dst != self.wan_mac and not frames.is_group(frame.dst):
            self.counters["unexpected"] += 1
            return
        if not self.peers.hear_server(frame, self.now, self.state is State.RELAYING):
            self._out.stranger("switch", frame)
            return
        self.dialect.hear(frame, eap)
        if eap is None:
            self._out.pass_to_client(frame, raw, self.lan_mac)
        elif eap.code == REQUEST:
            self._request(frame, eap, raw)
        elif eap.code == RESPONSE or self.state in (State.WAITING, State.BACKOFF):
            self.counters["unexpected"] += 1
        else:
            self._out.pass_to_client(frame, raw, self.lan_mac)
            (self._success if eap.code == SUCCESS else self._failure)(eap)

    def _request(self, frame: Frame, eap: Eap, raw: bytes) -> None:
        self._starts = 0
        self._timers.pop("start", None)
        if eap.type == frames.NOTIFICATION:
            self.last_message = ruijie.readable(eap.data[1:])
            self._say("info", f"the switch says: {self.last_message}")
        if self.state is State.ONLINE:
            self.dialect.asked_online(eap)
        if self.present or not (self._alone or self.state is State.ONLINE):
            self._out.pass_to_client(frame, raw, self.lan_mac)
            if self._alone or self._established:
                self._pending = frame
                self._timers.setdefault("answer", self.now + PATIENCE)
        else:
            self._answer(frame, eap, raw)

    def _answer_pending(self) -> None:
        self._timers.pop("answer", None)
        if self.state is State.RELAYING and not self._alone:
            return  # a PC in its login may think for longer; "client" ends that
        frame, self._pending = self._pending, None
        if frame is None or (eap := frame.eap) is None:
            return
        self.present = False
        self._answer(frame, eap, None)

    def _answer(self, frame: Frame, eap: Eap, raw: bytes | None) -> None:
        answer = self.memory.answer(eap, self._allowed)
        if answer.eap is None:
            self._say("warning", f"cannot answer the switch: {answer.why}")
            self._timers.setdefault("doubt", self.now + DOUBT)
            if raw is not None:
                self._out.pass_to_client(frame, raw, self.lan_mac)  # the PC may be back
            return
        self.counters["answered"] += 1
        self._say("debug", f"answered a request of EAP type {eap.type} for the PC")
        self._out.send(self.memory.frame(answer.eap, frame, self.wan_mac))

    def _success(self, eap: Eap) -> None:
        login = self.state is State.RELAYING
        if login or self.online_since is None:
            self.step = min(self.step + 1, self.settings.successes)
            self.online_since = self.now
        for name in ("client", "answer", "doubt", "login", "start", "link"):
            self._timers.pop(name, None)
        self._pending = None
        self.last_message = ruijie.message(eap.trailer)
        self._take_key(eap, login)
        self.dialect.logged_in()
        if self.step < self.settings.successes:
            self._timers["client"] = self.now + self._login_pause
        else:
            self.state, self._alone = State.ONLINE, False
        self._tell_success(login)

    def _take_key(self, eap: Eap, login: bool) -> None:
        found = ruijie.echo_key(eap.trailer) if "ruijie-echo" in self._allowed else None
        if found is not None:
            interval = self.settings.echo_interval or (self.echo.learned if self.echo is not None else None)
            self.echo = Echo(self.now, *found, interval, self.present)
        elif login:
            self.echo = None  # where the switch says nothing, the PC's own echoes will tell

    def _tell_success(self, login: bool) -> None:
        message = f": {self.last_message}" if self.last_message else ""
        if not login:
            self._say("info", f"authenticated again{message}")
            return
        steps = f" (step {self.step} of {self.settings.successes})" if self.settings.successes > 1 else ""
        self._say("info", f"on line{steps}, kept by {self.strategy}{message}")
        if self.strategy == "none":
            self._say("warning", "nothing was learned that could keep the session; the PC must stay")
        self._hook("success")

    def _failure(self, eap: Eap) -> None:
        text = ruijie.message(eap.trailer)
        self.last_message = text or "no reason given"
        self._say("warning", f"the switch refused: {self.last_message}")
        self._hook("failure")
        self._lose(f"the switch refused: {self.last_message}")

    def _lose(self, why: str, relogin: bool = True) -> None:
        """The session is over, or a login of our own has come to nothing."""
        if self._established:
            self._say("warning", f"off line: {why}")
            self._hook("offline", why)
        since = self.online_since
        if since is not None and self.now - since >= STABLE:
            self._failures = 0
        self.step, self.online_since, self.echo, self._pending, self.peers.server = 0, None, None, None, None
        self._alone, self._starts, self.state = False, 0, State.WAITING
        self._timers.clear()
        if relogin and self._can_login:
            pause = min(BACKOFF_FIRST * 2**self._failures, BACKOFF_LAST)
            self._failures = min(self._failures + 1, 16)
            self.state = State.BACKOFF
            self._timers["login"] = self.now + pause
            self._say("info", f"next login in {pause:g} s")

    # By ourselves

    @property
    def _can_login(self) -> bool:
        known = self.memory.user is not None and self.memory.password is not None
        return self.settings.relogin and known and "md5" in self._allowed

    def _login(self) -> None:
        self.state, self._alone, self.peers.server = State.RELAYING, True, None
        self._timers["client"] = self.now + LOGIN_LIMIT
        self._say("info", "logging in without the PC")
        self._send_start()

    def _send_start(self) -> None:
        cached = self.memory.start
        if cached is not None:
            self._out.send(frames.encode(cached._replace(src=self.wan_mac)))
        else:
            self._out.send(frames.build(frames.PAE_GROUP, self.wan_mac, START, tags=self.peers.server_tags))

    def _own_start(self) -> None:
        """After the link came back: ask the switch to begin again, until it does or a login takes over."""
        if self._starts == len(STARTS):
            present = self.present
            self._lose("the switch does not answer since the link came back")
            if self.state is State.BACKOFF or not present:
                return
            self._starts = len(STARTS)
        self._send_start()
        self._timers["start"] = self.now + STARTS[min(self._starts, len(STARTS) - 1)]
        self._starts += 1

    def _write_echo(self) -> None:
        if self.echo is None:
            return
        if self.state is State.RELAYING and not self._alone and self.present:
            self.echo.due = self.now + 1.0  # a new login is being made: a new key is on its way
            return
        if self.server is None or not self._out.wan_up:
            self.echo.due = self.now + self.echo.interval
            return
        if self.present and not self.echo.ours:
            self._pc_gone("its echo has stopped")
        body = self.echo.write(self.now)
        frame = Frame(self.server, self.wan_mac, self.peers.server_tags, 1, frames.ECHO, 0x1E, body)
        self.counters["echoes"] += 1
        self._out.send(frames.encode(frame).ljust(frames.SHORTEST, b"\0"))

    def _doubt(self) -> None:
        self._lose("the switch got no answer to its request")

    def goodbye(self, now: float) -> tuple[list, float | None]:
        """Ends the session on the switch: sends a Logoff."""
        self.now = now
        if self._established:
            dst = self.peers.towards_server()
            self._out.send(frames.build(dst, self.wan_mac, frames.LOGOFF, tags=self.peers.server_tags))
        self._lose("the relay was told to log off", relogin=False)
        return self._done()

    def _wan_link(self, up: bool) -> None:
        if up == self._out.wan_up:
            return
        self._out.wan_up = up
        self._say("info", f"link towards the switch is {'up' if up else 'down'}")
        if not up:
            if self._established:
                self._timers["link"] = self.now + LINK_PATIENCE
            return
        self._timers.pop("link", None)
        self.peers.doubt_server(self.now)
        if self.echo is not None:
            self.echo.due = self.now + 1.0
        if self._established and (self._can_login or self.present):
            self._starts = 0
            self._timers["start"] = self.now + 1.0

    def _link_lost(self) -> None:
        self._lose("the link towards the switch is down")

    # Out

    def _say(self, level: str, text: str) -> None:
        self._out.say(level, text)

    def _hook(self, event: str, reason: str = "") -> None:
        values = {
            "EVENT": event, "STATE": self.state.value, "REASON": reason, "MESSAGE": self.last_message,
            "STEP": str(self.step), "STEPS": str(self.settings.successes),
            "CLIENT": frames.mac_text(self.client or b""), "SWITCH": frames.mac_text(self.server or b""),
            "KEEPALIVE": self.strategy, "DIALECT": self.dialect.name,
        }  # fmt: skip
        self._out.hook(event, values)
