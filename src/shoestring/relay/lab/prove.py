"""Every sequence of events to a depth, against the laws of the session: `python -m shoestring.relay.lab.prove`.

Two PCs, two switches, the clock and the links do anything in any order. A witness beside the session, which knows only
the frames on the wires, keeps book of what was granted. The laws:

1. No session is given up: while the switch that granted it has not refused, no sign says that it is over.
2. Nothing unproven replaces what is proven: user, PC, switch and key stay those of the last Success, and no name but
   the proven or the configured one is ever given in a PC's place.
3. From every state a login by the PC succeeds.
4. Nothing stands still: deadlines lie ahead, and a relay that may log in by itself has one.

States that the session cannot tell apart are explored once; paths are replayed rather than copied.
"""

from __future__ import annotations

import sys
import time

from shoestring.relay import frames
from shoestring.relay.containers import namedtuple
from shoestring.relay.frames import (
    FAILURE,
    IDENTITY,
    LOGOFF,
    MD5,
    ONLINE,
    REQUEST,
    RESPONSE,
    START,
    SUCCESS,
    Eap,
)
from shoestring.relay.session.effects import LAN, WAN, Hook, Send
from shoestring.relay.session.session import Session
from shoestring.relay.session.table import PROVEN, Login, Proof
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import ruijie

WAN_MAC, LAN_MAC = b"\2WAN-A", b"\2LAN-B"
PCS = {"pc1": (b"\2PC-01", b"alice"), "pc2": (b"\2PC-02", b"guest")}
SWITCHES = {"switch1": b"\0SWT-1", "switch2": b"\0SWT-2"}
OWN = b"alice"
PAUSE, LONG = 0.5, 70.0  # seconds before each event, and of the event `wait`
DEPTH = 4
EVENTS = (
    *[(who, what) for who in PCS for what in ("start", "identity", "md5", "logoff")],
    *[(who, what) for who in SWITCHES for what in ("identity?", "md5?", "type 20?", "success", "key", "failure")],
    ("clock", "tick"), ("clock", "wait"), ("link", "down"), ("link", "up"), ("pc link", "down"),
)  # fmt: skip
CASES = {
    "no password": Settings(),
    "password": Settings(password=b"secret"),
    "identity and password": Settings(identity=OWN, password=b"secret"),
    "double authentication": Settings(identity=OWN, password=b"secret", successes=2, client=b"\2PC-01"),
    "starts of all": Settings(starts="all", password=b"secret"),
}


class Breach(AssertionError):
    """A law was broken; the text says which, and by what path."""


class Proved(namedtuple("Proved", "states events")):
    """How much was explored: states told apart, and events tried in them."""

    __slots__ = ()


class Run:
    """A session, its witness and the clock."""

    def __init__(self, settings: Settings) -> None:
        self.session = Session(settings, WAN_MAC, LAN_MAC, 0.0)
        self.now = 0.0
        self.up = True
        self.out: list[tuple[str, frames.Frame]] = []  # what the last event made the session send
        self.granted: bytes | None = (
            None  # the switch whose last word was a Success, the link never down since
        )
        self.user: bytes | None = None  # whom it was granted to
        self.client: bytes | None = None  # the PC that gave the name
        self.key: int | None = None
        self.successes = 0
        self.proven: set[bytes] = {settings.identity} if settings.identity else set()
        self.asked: set[bytes] = set()  # switches that were given an answer since their last result
        self.requests: set[bytes] = set()  # switches that have asked since
        self.said: tuple[bytes | None, bytes] | None = (
            None  # (PC or None, name) of the last identity on the wire
        )
        self.offline = False

    def apply(self, event: tuple[str, str]) -> None:
        """Lets one event happen, and looks at what comes of it."""
        who, what = event
        self._until(self.now + PAUSE)
        self.out = []
        if who in PCS:
            self._take(self.session.feed(LAN, pc_frame(who, what), self.now)[0], PCS[who][0])
        elif who in SWITCHES:
            self._hear(SWITCHES[who], what)
            effects = self.session.feed(WAN, switch_frame(who, what), self.now)[0]
            if what.endswith("?") and any(isinstance(effect, Send) for effect in effects):
                self.requests.add(SWITCHES[who])  # one that nobody hears is no request
            self._take(effects, None)
        elif who == "clock":
            self._pass_time(what)
        else:
            self._link(WAN if who == "link" else LAN, what == "up")

    def _pass_time(self, what: str) -> None:
        self._until(self.now + LONG if what == "wait" else max(self.now, self.session.deadline or 0))

    def _until(self, end: float) -> None:
        for _ in range(200):
            deadline = self.session.deadline
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self._take(self.session.tick(self.now)[0], None)
        else:
            raise Breach("4: deadlines that never move on")
        self.now = end

    def _link(self, side: str, up: bool) -> None:
        if side == WAN:
            self.up = up
            self.granted = self.granted if up else None  # a switch whose port went down may have forgotten us
        self._take(self.session.link(side, up, self.now)[0], None)

    def _hear(self, switch: bytes, what: str) -> None:
        """The witness hears a switch's result."""
        if switch == self.granted:  # it is there: whoever else has asked is nobody
            self.asked &= {switch}
            self.requests &= {switch}
        if not self.up or what not in ("success", "key", "failure"):
            return
        early = self.granted is None and self.requests == {switch} and self.said is not None
        answered = switch in self.asked or switch == self.granted or early
        if what == "failure":
            known = switch in self.asked or not self.requests or switch in self.requests
            if switch == self.granted or (self.granted is None and known):
                self.granted, self.successes, self.said = None, 0, None
            self.asked.discard(switch)
            self.requests.discard(switch)
        elif answered:
            self.successes += switch != self.granted or self.successes < self.session.settings.successes
            if (switch in self.asked or early) and self.said is not None:
                self.client, self.user = self.said[0] or self.client, self.said[1]
                self.proven.add(self.user)
            self.granted, self.key = switch, KEYS[switch] if what == "key" else None
            self.asked.discard(switch)
            self.requests.discard(switch)
            self.offline = False

    def _take(self, effects: list, pc: bytes | None) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                frame = frames.decode(effect.frame)
                assert isinstance(frame, frames.Frame)
                self.out.append((effect.side, frame))
                if effect.side == WAN:
                    self._see(frame, pc)
            elif isinstance(effect, Hook):
                self.offline = effect.event == "offline" or (self.offline and effect.event != "success")

    def _see(self, frame: frames.Frame, pc: bytes | None) -> None:
        eap = frame.eap
        if eap is not None and eap.code == RESPONSE:
            everyone = frames.is_group(frame.dst)
            self.asked.update(self.requests if everyone else [frame.dst])
            if eap.type == IDENTITY:
                name = eap.data[1:]
                if pc is None and name not in self.proven:
                    raise Breach(f"2: the name {name!r} was given in a PC's place, and nothing had proven it")
                self.said = (pc, name)
        elif frame.type in (START, LOGOFF) and self.granted is None:
            self.said = None
            self.asked.clear()
            self.requests.clear()

    def check(self) -> None:
        """Raises `Breach` where a law does not hold now."""
        session, machine = self.session, self.session.machine
        if self.granted is not None:
            if machine.proof not in PROVEN or self.offline:
                raise Breach("1: a session was given up that the switch holds")
            found, right = (
                (session.memory.user, session.peers.server),
                (session.settings.identity or self.user, self.granted),
            )
            if self.user is not None and found != right:
                raise Breach(f"2: {found} replaced what is proven, {right}")
            if self.client is not None and session.peers.proven_client != self.client:
                raise Breach("2: the PC that is proven was replaced")
            if self.key is not None and (session.echo is None or session.echo.key != self.key):
                raise Breach("2: the key that was granted is gone")
        deadline = session.deadline
        if deadline is not None and deadline < self.now - 1e-9:
            raise Breach("4: a deadline in the past")
        may = session.settings.identity is not None and session.settings.password is not None
        if may and machine.proof == Proof.NONE and machine.login == Login.IDLE:
            raise Breach("4: nobody will log in, though the relay may")

    def log_in(self) -> None:
        """The PC logs in, from whatever state this is; raises `Breach` where it does not come through."""
        if not self.up:
            self.apply(("link", "up"))
        self.apply(("clock", "wait"))
        known = self.session.peers.proven_client or self.session.settings.client
        if known is None and self.session.machine.proof in PROVEN:
            return  # the relay has logged in by itself: no PC is more than a stranger
        who = next((name for name, (mac, _) in PCS.items() if mac == known), "pc1")
        proven = next((name for name, mac in SWITCHES.items() if mac == self.session.peers.server), "switch1")
        for _ in range(self.session.settings.successes):
            for speaker, what in ((who, "start"), (proven, "identity?"), (who, "identity"), (proven, "md5?"),
                                  (who, "md5"), (proven, "success")):  # fmt: skip
                self.apply((speaker, what))
                other = WAN if speaker in PCS else LAN
                if other not in [side for side, _ in self.out]:
                    raise Breach(f"3: a login by the PC fails: its {what} does not come through")
        if self.session.machine.proof != Proof.ONLINE:
            raise Breach("3: a login by the PC does not open the port")

    def key_of_state(self) -> tuple:
        """Returns what tells this state from others; times are relative and coarse."""
        s = self.session
        timers = tuple(sorted((name, round(when - self.now, 1)) for name, when in s.machine.timers.items()))
        peers, memory = s.peers, s.memory
        ages = (min(self.now - peers._client_at, 61) // 10, min(self.now - peers._server_at, 61) // 10)
        voices = tuple(
            (voice.user, voice.start is not None, tuple(sorted(voice.answers)))
            for voice in (memory.heard, memory.proven)
        )
        echo = s.echo and (s.echo.key, s.echo.ours, round(s.echo.interval))
        return (
            s.machine.proof, s.machine.login, s.machine.presence, timers, peers.client, peers.server,
            peers.proven_client, peers.rival, peers.client_left, ages, voices, echo, s.steps,
            s._told_offline, s._flapped, s._answered, min(s._failures, 3), s._starts,
            self.now < s._quiet_until, s._pending is not None, self.up,
            self.granted, self.user, self.client, self.key, self.successes, self.said, frozenset(self.asked),
            frozenset(self.requests), self.offline,
        )  # fmt: skip


KEYS = {mac: 0x1000 + at for at, mac in enumerate(SWITCHES.values())}


def pc_frame(who: str, what: str) -> bytes:
    """Returns a frame of a PC."""
    mac, user = PCS[who]
    if what in ("start", "logoff"):
        return frames.build(frames.PAE_GROUP, mac, START if what == "start" else LOGOFF)
    data = bytes([IDENTITY]) + user if what == "identity" else bytes([MD5, 16]) + bytes(16) + user
    return frames.build(frames.PAE_GROUP, mac, frames.EAP, frames.encode_eap(Eap(RESPONSE, 1, data, b"")))


def switch_frame(who: str, what: str) -> bytes:
    """Returns a frame of a switch to the router."""
    mac = SWITCHES[who]
    data = {
        "identity?": bytes([IDENTITY]),
        "md5?": bytes([MD5, 16]) + bytes(16),
        "type 20?": bytes([ONLINE]),
    }.get(what, b"")
    if what == "key":
        plain = ruijie.MAGIC + b"\x0a\1" + KEYS[mac].to_bytes(4, "big") + (300).to_bytes(4, "big") + b"\0"
        data = ruijie.MAGIC + b"\1\1" + ruijie.code(plain)
    code = {"success": SUCCESS, "key": SUCCESS, "failure": FAILURE}.get(what, REQUEST)
    return frames.build(WAN_MAC, mac, frames.EAP, frames.encode_eap(Eap(code, 1, data, b"")))


def replay(settings: Settings, path: tuple) -> Run:
    """Returns the run that a path of events leads to."""
    run = Run(settings)
    for event in path:
        run.apply(event)
    return run


LOGIN = tuple((who, what) for who, what in (("pc1", "start"), ("switch1", "identity?"), ("pc1", "identity"),
              ("switch1", "md5?"), ("pc1", "md5"), ("switch1", "key")))  # fmt: skip


def prove(settings: Settings, depth: int, start: tuple = ()) -> Proved:
    """Explores every sequence of `depth` events from where the path `start` leads to.

    Raises:
        Breach: a law does not hold.
    """
    seen, frontier, tried = {replay(settings, start).key_of_state()}, [start], 0
    for _ in range(depth):
        following = []
        for path in frontier:
            for event in EVENTS:
                tried += 1
                longer = (*path, event)
                try:
                    run = replay(settings, longer)
                    run.check()
                    key = run.key_of_state()
                    if key in seen:
                        continue
                    seen.add(key)
                    run.log_in()
                    run.check()
                except Breach as breach:
                    raise Breach(f"{breach}; after {', '.join(' '.join(each) for each in longer)}") from None
                following.append(longer)
        frontier = following
    return Proved(len(seen), tried)


def main(depth: int = DEPTH) -> None:
    """Explores every case, from nothing and from a session that stands."""
    states, begin = 0, time.monotonic()
    for name, settings in CASES.items():
        for start in ((), LOGIN * settings.successes):
            found = prove(settings, depth, start)
            states += found.states
            where = "on line" if start else "waiting"
            print(f"{name}, {where}: {found.states} states by {found.events} events", file=sys.stderr)
    took = time.monotonic() - begin
    print(f"{states} states, 0 sessions given up, 0 identities taken unproven ({took:.0f} s, depth {depth})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DEPTH)
