"""What both sides of a session share: where it stands, what it knows, what the relay does by itself, how it ends.

`table` has all states and the ways between them; here is what is done on the way.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import START, Eap, Frame
from shoestring.relay.session.effects import State
from shoestring.relay.session.keepalive import Echo
from shoestring.relay.session.memory import Memory
from shoestring.relay.session.outbox import Outbox
from shoestring.relay.session.peers import Peers
from shoestring.relay.session.table import PROVEN, Event, Login, Machine, Presence, Proof
from shoestring.relay.settings.settings import KEEPALIVES, Settings
from shoestring.relay.vendors.dialects import Dialect, strategy

LOGIN_PAUSE = 10.0  # seconds of silence after which a returning PC's login counts as given up
LOGIN_LIMIT = 30.0  # seconds that a login of our own may take
BACKOFF_FIRST, BACKOFF_LAST = 2.0, 300.0
STABLE = 300.0  # seconds on line after which a failure starts the back-off afresh
DOUBT = 90.0  # seconds after an unanswered request until the switch has surely given up; hostapd takes 80
CALM = 5.0  # seconds after an answered identity in which a switch that logs us in anew sends its challenge


class Core:
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
        self.machine = Machine()
        self.peers = Peers(settings.client_timeout, now, settings.client)
        self.memory = Memory(settings.identity, settings.password)
        self.dialect = Dialect()
        self.echo: Echo | None = None
        self.steps = 0  # successes so far of `settings.successes`
        self.online_since: float | None = None
        self.last_message = self.accounting = ""
        self._notice = self._news = (
            ""  # the switch's last words if no request followed; of the account since the Start
        )
        self.revision = 0  # counts every change that `snapshot` would show
        self._allowed = KEEPALIVES[settings.keepalive]
        self._answered: bytes | None = (
            None  # the switch that was given an answer since the last Start or Failure
        )
        self._told_offline = False  # the hooks were; the next sign of life is news to them
        self._flapped = False  # the link was down since the switch last gave a sign of life
        self._failures = 0
        self._starts = 0
        self._quiet_until = now  # nobody asks for an answer of ours before; the back-off without a password
        self._pending: Frame | None = None  # a request that the PC may still answer
        self._complained: set[str] = set()
        self._out = Outbox(settings, self.peers)
        if settings.identity is not None and settings.password is not None and settings.relogin:
            self._pause(BACKOFF_FIRST)

    @property
    def state(self) -> str:
        """Where the session stands, in one word for the user."""
        machine = self.machine
        online = machine.proof in (Proof.ONLINE, Proof.DOUBTED, Proof.LAPSED) and not self._told_offline
        if machine.login == Login.PC or machine.proof in (Proof.PARTIAL, Proof.REFUSED):
            return State.RELAYING
        if online:
            return State.ONLINE
        return {Login.OWN: State.RELAYING, Login.PAUSE: State.BACKOFF}.get(machine.login, State.WAITING)

    @property
    def present(self) -> bool:
        """Whether the PC is there and answers."""
        return self.machine.presence == Presence.HERE

    @property
    def client(self) -> bytes | None:
        """The address of the PC that is served, or None."""
        return self.peers.client

    @property
    def server(self) -> bytes | None:
        """The address of the switch that is trusted, or None."""
        return self.peers.server

    @property
    def addresses(self):
        """The WAN interface's IPv4 addresses as a Ruijie `Header`, or None while unknown."""
        return self._out.addresses

    @addresses.setter
    def addresses(self, header) -> None:
        self._out.addresses = header

    @property
    def counters(self) -> dict[str, int]:
        """How many frames went which way."""
        return self._out.counters

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called, or None while only a frame can change anything."""
        return self.machine.deadline

    @property
    def strategy(self) -> str:
        """What keeps the session alive: `ruijie-echo`, `md5`, `identity` or `none`."""
        key = self.echo is not None and self.echo.key is not None
        return strategy(self._allowed, key, self.memory.user is not None, self.memory.password is not None)

    @property
    def _login_pause(self) -> float:
        return LOGIN_PAUSE if self.machine.proof in PROVEN else self.settings.client_timeout

    def _login_silent(self) -> None:
        """A login has come to nothing: back to where it started from."""
        if self.machine.login == Login.OWN:
            self._say("info", "the switch does not answer our login")
            self._login_failed()
        else:
            self._pc_gone("it has not finished its login")

    def _login_failed(self) -> None:
        ours = self.machine.login != Login.PC
        self.machine.on(Event.NOTHING)
        self.memory.forget_heard()
        self.peers.dismiss_guest()
        if ours or self.machine.proof == Proof.NONE:
            self._back_off()

    def _pc_gone(self, why: str) -> None:
        self.machine.on(Event.LEAVE)
        self.peers.dismiss_guest()
        machine = self.machine
        if machine.proof in PROVEN:
            self._say("info", f"PC gone: {why}; keeping the session by {self.strategy}")
        elif machine.login == Login.IDLE and self._can_login:
            self._back_off()
        if machine.may_run("next"):
            machine.set("next", self.now + LOGIN_PAUSE)
        if self.echo is not None:
            self.echo.pc_left(self.now)
        self._answer_pending()

    # By ourselves

    @property
    def _can_login(self) -> bool:
        known = self.memory.user is not None and self.memory.password is not None
        return self.settings.relogin and known and "md5" in self._allowed

    def _login(self) -> None:
        self.machine.on(Event.OWN)
        self.memory.forget_heard()
        self._notice = self._news = ""
        if self.machine.proof == Proof.NONE:
            self.peers.forget_server()
            self._answered = None
        self.machine.set("silence", self.now + LOGIN_LIMIT)
        self._say("info", "logging in without the PC")
        self._send_start()

    def _next_step(self) -> None:
        """Some of several successes are there, and nobody goes on: the switch waits for another Start."""
        if self._can_login:
            self._login()
        else:
            self._say(
                "warning", f"step {self.steps} of {self.settings.successes}; the PC must log in once more"
            )

    def _send_start(self) -> None:
        cached = self.memory.start
        if cached is not None:
            tags = cached.tags if self.peers.server_tags is None else self.peers.server_tags
            self._out.send_own(self._out.rewritten(cached._replace(src=self.wan_mac, tags=tags)))
        else:
            tags = self.peers.server_tags or b""
            self._out.send_own(Frame(frames.PAE_GROUP, self.wan_mac, tags, 1, START, 0, b""))

    def _write_echo(self) -> None:
        if self.echo is None:
            return
        if self.server is None or not self._out.wan_up:
            self.echo.due = self.now + self.echo.interval
            return
        if self.present and not self.echo.ours and self.machine.login != Login.PC:
            self._pc_gone("its echo has stopped")
        body = self.echo.write(self.now)
        self.revision += 1
        tags = self.peers.server_tags or b""
        self.counters["echoes"] += 1
        self._out.send_own(Frame(self.server, self.wan_mac, tags, 1, frames.ECHO, 0x1E, body))

    # The end

    def _lose(self, why: str, relogin: bool = True) -> None:
        """The session is over."""
        if self.machine.proof in PROVEN and not self._told_offline:
            self._say("warning", f"off line: {why}")
            self._tell_offline(why, after=Event.LOST)
        self.machine.on(Event.LOST)
        since = self.online_since
        if since is not None and self.now - since >= STABLE:
            self._failures = 0
        self.steps, self.online_since, self.echo, self._pending = 0, None, None, None
        self._told_offline = self._flapped = False
        self.machine.stop("answer")
        self.revision += 1
        going_on = self.machine.login == Login.PC
        if not relogin or not (
            going_on or self._answered is not None
        ):  # else what was said since may prove anew
            self._answered = None
            self.memory.forget_heard()
            self.peers.dismiss_guest()
            self.peers.forget_server()
        if relogin and not going_on:
            self._back_off()

    def _back_off(self) -> None:
        """The next login of our own waits, longer each time; so does any answer without a login."""
        pause = min(BACKOFF_FIRST * 2**self._failures, BACKOFF_LAST)
        self._failures = min(self._failures + 1, 16)
        self._quiet_until = self.now + pause
        if self._can_login:
            self._pause(pause)
            self._say("info", f"next login in {pause:g} s")

    def _pause(self, seconds: float) -> None:
        self.machine.on(Event.RETRY)
        self.machine.set("login", self.now + seconds)

    # Answers

    def _answer_pending(self) -> None:
        """The PC has had its time for a request."""
        self.machine.stop("answer")
        frame, self._pending = self._pending, None
        if frame is None or (eap := frame.eap) is None:
            return
        self.machine.on(Event.LEAVE)
        self.peers.dismiss_guest()
        self._answer(frame, eap)

    def _answer(self, frame: Frame, eap: Eap) -> bool:
        """Answers a request in the PC's place; returns whether it did."""
        answer = self.memory.answer(eap, frame, self.wan_mac, self._allowed, self._out.address)
        if answer.frame is None:
            if answer.why:
                self._complain(f"cannot answer the switch: {answer.why}")
                self._doubt()
            return False
        self.memory.forget_heard()  # the Success that may follow proves what we said
        self._answered = frame.src
        self.counters["answered"] += 1
        self._say("debug", f"answered a request of EAP type {eap.type} for the PC")
        self._out.send_own(self._out.rewritten(answer.frame))
        self._sign_of_life(eap.type)
        return True

    def _complain(self, text: str) -> None:
        """Says what is worth saying once until the next Success."""
        if text not in self._complained:
            self._complained.add(text)
            self._say("warning", text)

    # Doubt

    def _doubt(self) -> None:
        """Nobody can answer a request, or the link was down: the session may be lost, but need not be."""
        was = self.machine.proof
        self.machine.on(Event.UNANSWERED)
        self.machine.stop("calm")
        if was != Proof.DOUBTED and self.machine.proof == Proof.DOUBTED:
            self.machine.set("doubt", self.now + DOUBT)

    def _sign_of_life(self, type: int) -> None:
        """A request was answered: what follows an identity tells whether the switch holds the session."""
        if type in (frames.IDENTITY, frames.ONLINE) and self.machine.may_run("calm"):
            self.machine.set("calm", self.now + CALM)

    def _calm(self) -> None:
        self.machine.on(Event.LIFE)
        self._flapped = False
        if self._told_offline:
            self._told_offline = False
            self._hook("success")

    def _lapse(self) -> None:
        """Nothing has settled the doubt; what keeps the session alive goes on, as nothing proves that it is lost."""
        if self.strategy == "ruijie-echo" and not self._flapped:
            return  # a switch that takes echoes never speaks
        self.machine.on(Event.LAPSE)
        self._say("warning", "the switch has said nothing since; the session may be lost")
        self._hook(
            "doubt", "the link was down" if self._flapped else "a request of the switch stayed unanswered"
        )

    def _done(self) -> tuple[list, float | None]:
        echo = self.echo
        if echo is not None and echo.key is not None and self.machine.may_run("echo"):
            self.machine.set("echo", echo.due)
        else:
            self.machine.stop("echo")
        return self._out.take(), self.deadline

    # Out

    def _say(self, level: str, text: str) -> None:
        self._out.say(level, text)

    def _tell_offline(self, why: str, after: str) -> None:
        self.machine.on(after)
        self._told_offline = True
        self._hook("offline", why)

    def _hook(self, event: str, reason: str = "") -> None:
        values = {
            "EVENT": event, "STATE": self.state, "REASON": reason, "MESSAGE": self.last_message,
            "ACCOUNTING": self.accounting, "STEP": str(self.steps), "STEPS": str(self.settings.successes),
            "CLIENT": frames.mac_text(self.client or b""), "SWITCH": frames.mac_text(self.server or b""),
            "KEEPALIVE": self.strategy, "DIALECT": self.dialect.name,
        }  # fmt: skip
        self._out.hook(event, values)
