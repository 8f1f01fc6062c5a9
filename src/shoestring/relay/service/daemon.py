"""The process: sockets, clock and signals around the sessions; it sleeps until one of them has news.

No polling: an idle relay wakes up for its keep-alive and for nothing else.
"""

from __future__ import annotations

import os
import select
import time

from shoestring import __version__
from shoestring.relay import frames
from shoestring.relay.service import json_text, link
from shoestring.relay.service.hooks import Hooks
from shoestring.relay.service.journal import Journal
from shoestring.relay.service.pcap import Ring
from shoestring.relay.service.sockets import signals
from shoestring.relay.service.status import Desk
from shoestring.relay.session.effects import LAN, WAN, Hook, Say, Send, State
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import Pair, Process, SettingError
from shoestring.relay.vendors import digest
from shoestring.relay.vendors.texts import readable

BATCH = 64  # frames from one socket before the others get their turn
SPARE = 4  # sockets kept for interfaces that appear after privileges were dropped
NOBODY = bytes(6)
FRESH = 5.0  # seconds that the WAN's addresses are believed to stay as they are


class Relay:
    """One pair at work: its session and its sockets."""

    def __init__(self, pair: Pair, now: float) -> None:
        self.pair = pair
        self.name = f"{pair.wan}<>{pair.lan}"
        wan_mac, lan_mac = link.mac_of(pair.wan) or NOBODY, link.mac_of(pair.lan) or NOBODY
        self.session = Session(pair.settings, wan_mac, lan_mac, now)
        self.session.link(WAN, link.is_up(pair.wan), now)
        self.wan: link.Port | None = None
        self.lan: dict[str, link.Port] = {}
        self.client_port: link.Port | None = None  # where the locked PC was last heard
        self.deadline: float | None = self.session.deadline
        self._addressed_at = float("-inf")

    def refresh(self, now: float) -> None:
        """Tells the session the WAN's addresses, which belong into some vendors' data; they change with DHCP."""
        if now - self._addressed_at >= FRESH:
            self._addressed_at = now
            self.session.addresses = link.addresses_of(self.pair.wan)

    def describe(self, now: float) -> dict:
        """Returns what `status` shows; nothing secret is in it."""
        session = self.session
        echo = session.echo
        return {
            "wan": self.pair.wan,
            "lan": self.pair.lan,
            "ports": sorted(self.lan),
            "link": link.is_up(self.pair.wan),
            "state": session.state,
            "client": frames.mac_text(session.client) if session.client else None,
            "present": session.present,
            "switch": frames.mac_text(session.server) if session.server else None,
            "dialect": session.dialect.name,
            "keepalive": session.strategy,
            "proof": session.machine.proof,
            "online_seconds": None if session.online_since is None else round(now - session.online_since),
            "message": session.last_message,
            "accounting": session.accounting,
            "echo": None
            if echo is None
            else {
                "number": echo.number,
                "interval": echo.interval,
                "writer": "relay" if echo.ours else "pc",
                "due_in": round(echo.due - now, 1),
            },
            "counters": dict(session.counters),
        }


class Daemon:
    """All pairs of one process.

    Args:
        pairs: what to relay.
        process: what they share.

    Raises:
        OSError: the sockets cannot be made; raw sockets take root or CAP_NET_RAW.
    """

    def __init__(self, pairs: list[Pair], process: Process) -> None:
        self._process = process
        self._journal = Journal(process.log, process.level)
        self._hooks = Hooks()
        self._ring = Ring(process.frames)
        self._poll = select.epoll()
        self._news = link.News()
        self._spare: list[link.Port] = []
        self._owner: dict[int, tuple[Relay, str, link.Port]] = {}  # socket number -> whose it is
        self._stop = False
        self._relays = [Relay(pair, time.monotonic()) for pair in pairs]
        self._sessions = {relay.name: relay.session for relay in self._relays}
        self._state = None
        if process.state:
            from shoestring.relay.service.state_file import StateFile

            self._state = StateFile(process.state)
        self._state_trouble = ""
        self._restore()
        self._look()
        self._desk = Desk(process.socket, self._poll, {b"status": self.status, b"frames": self._ring.pcap})
        self._signals, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (self._news.socket.fileno(), self._desk.fileno(), self._signals):
            self._poll.register(number, select.EPOLLIN)
        self._catch_signals()
        self._drop_privileges()

    def run(self) -> None:
        """Relays until SIGTERM or SIGINT."""
        for relay in self._relays:
            missing = [name for name in (relay.pair.wan, relay.pair.lan) if not link.index_of(name)]
            waits = f"; waiting for {' and '.join(missing)} to appear" if missing else ""
            self._journal.say(
                relay.name, "info", f"relaying by {' '.join(relay.lan) or 'no port yet'}{waits}"
            )
        while not self._stop:
            for number, _ in self._poll.poll(self._pause()):
                self._handle(number)
            self._tick()
            self._save()
        self._leave()

    def status(self) -> bytes:
        """Returns what `status --json` prints; nothing secret is in it."""
        now = time.monotonic()
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        answer = {
            "version": __version__,
            "process": os.getpid(),
            "memory_kib": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            "pairs": [relay.describe(now) for relay in self._relays],
        }
        return json_text.write(answer)

    def _restore(self) -> None:
        if self._state is None:
            return
        now = time.monotonic()
        for relay in self._relays:
            line = self._state.restore(relay.name, relay.session, now)
            relay.deadline = relay.session.deadline
            if line:
                self._journal.say(relay.name, "info", line)

    def _save(self) -> None:
        if self._state is None:
            return
        try:
            self._state.save(self._sessions, time.monotonic())
            self._state_trouble = ""
        except OSError as error:
            if self._state_trouble != error.strerror:  # said once; the session goes on
                self._state_trouble = error.strerror or "?"
                self._journal.say("state", "warning", f"cannot write {error.filename}: {error.strerror}")

    def _pause(self) -> float | None:
        deadlines = [relay.deadline for relay in self._relays if relay.deadline is not None]
        deadlines += [] if self._hooks.deadline is None else [self._hooks.deadline]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _handle(self, number: int) -> None:
        owner = self._owner.get(number)
        if owner is not None:
            self._receive(*owner)
        elif number == self._news.socket.fileno():
            self._news.drain()
            self._look()
        elif number == self._desk.fileno():
            self._desk.welcome()
        elif self._desk.serves(number):
            self._desk.attend(number)
        elif number == self._signals:
            if signals.SIGHUP in os.read(self._signals, 64):
                self._journal.say(
                    "relay", "info", "hang-up: settings are read at the start; restart to change them"
                )
            self._reap()

    def _reap(self) -> None:
        for line in self._hooks.reap():
            self._journal.say("hooks", "warning", line)

    def _receive(self, relay: Relay, side: str, port: link.Port) -> None:
        session = relay.session
        for _ in range(BATCH):
            raw = port.receive()
            if raw is None:
                return
            self._ring.add((time.time(), raw))
            now = time.monotonic()
            relay.refresh(now)
            effects, relay.deadline = session.feed(side, raw, now)
            if side == LAN and raw[6:12] == session.client:
                relay.client_port = port
            self._act(relay, effects)

    def _tick(self) -> None:
        now = time.monotonic()
        if self._hooks.deadline is not None and self._hooks.deadline <= now:
            self._reap()
        for relay in self._relays:
            if relay.deadline is not None and relay.deadline <= now:
                relay.refresh(now)
                effects, relay.deadline = relay.session.tick(now)
                self._act(relay, effects)

    def _act(self, relay: Relay, effects: list) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(relay, effect.side, effect.frame)
            elif isinstance(effect, Say):
                self._journal.say(relay.name, effect.level, effect.text)
            elif isinstance(effect, Hook) and effect.event in relay.pair.hooks:
                values = {**effect.values, "WAN": relay.pair.wan, "LAN": relay.pair.lan}
                trouble = self._hooks.run(relay.pair.hooks[effect.event], values, relay.name)
                if trouble:
                    self._journal.say(relay.name, "warning", trouble)

    def _send(self, relay: Relay, side: str, frame: bytes) -> None:
        if side == WAN:
            ports = [relay.wan]
        elif relay.client_port is not None and not frames.is_group(frame):
            ports = [relay.client_port]
        else:
            ports = list(relay.lan.values())
        self._ring.add((time.time(), frame))
        for port in ports:
            if port is not None:
                port.send(frame)

    # Interfaces

    def _look(self) -> None:
        """Brings sockets and sessions in line with the interfaces that there are now."""
        now = time.monotonic()
        for relay in self._relays:
            before, relay.wan = relay.wan, self._follow(relay, WAN, relay.pair.wan, relay.wan)
            if (
                before is not None and relay.wan is not before
            ):  # another interface of that name: what hangs on it may be another switch
                self._act(relay, relay.session.link(WAN, False, now)[0])
            wanted = [name for name in link.ports_of(relay.pair.lan) if name != relay.pair.wan]
            for name in {*wanted, *relay.lan}:
                port = self._follow(relay, LAN, name if name in wanted else "", relay.lan.pop(name, None))
                if port is not None:
                    relay.lan[name] = port
            if relay.client_port not in relay.lan.values():
                relay.client_port = None
            self._tell_links(relay, now)

    def _follow(self, relay: Relay, side: str, name: str, port: link.Port | None) -> link.Port | None:
        """Returns the port that listens on the interface, which may have gone, come or come back."""
        index = link.index_of(name) if name else 0
        if port is not None and (port.name, port.index) == (name, index):
            return port
        if port is not None:
            self._release(port)
        if not index:
            return None
        try:
            port = self._spare.pop() if self._spare else link.Port()
        except PermissionError:
            why = f"no socket is left, and user {self._process.user} may not make one; restart the relay"
            self._journal.say(relay.name, "warning", f"cannot listen on {name}: {why}")
            return None
        try:
            port.bind(name, promiscuous=side == LAN)
        except OSError as error:
            self._journal.say(relay.name, "warning", f"cannot listen on {name}: {error.strerror}")
            self._spare.append(port)
            return None
        self._owner[port.socket.fileno()] = (relay, side, port)
        self._poll.register(port.socket.fileno(), select.EPOLLIN)
        return port

    def _release(self, port: link.Port) -> None:
        number = port.socket.fileno()
        self._poll.unregister(number)
        del self._owner[number]
        port.unbind()
        self._spare.append(port)

    def _tell_links(self, relay: Relay, now: float) -> None:
        pair, session = relay.pair, relay.session
        up = relay.wan is not None and link.is_up(pair.wan)
        effects, relay.deadline = session.link(WAN, up, now, link.mac_of(pair.wan))
        self._act(relay, effects)
        heard = relay.client_port
        there = link.is_up(heard.name) if heard is not None else any(map(link.is_up, relay.lan))
        effects, relay.deadline = session.link(LAN, there, now, link.mac_of(pair.lan))
        self._act(relay, effects)

    # The process

    def _catch_signals(self) -> None:
        signals.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        signals.signal(signals.SIGCHLD, lambda *_: None)
        signals.signal(signals.SIGHUP, lambda *_: None)  # a terminal that closes ends no session
        for number in (signals.SIGTERM, signals.SIGINT):
            signals.signal(number, self._stopped)

    def _stopped(self, *_: object) -> None:
        self._stop = True

    def _drop_privileges(self) -> None:
        if self._process.user is None:
            return
        import pwd

        digest.md5(b"")  # what is loaded late must be loaded now: that user may not read our files
        readable(b"\xc4\xe3")

        self._spare += [link.Port() for _ in range(SPARE)]
        who = pwd.getpwnam(self._process.user)
        os.chown(self._process.socket, who.pw_uid, who.pw_gid)
        os.setgroups([])
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
        if self._process.state and not os.access(
            os.path.dirname(os.path.abspath(self._process.state)), os.W_OK
        ):
            folder = os.path.dirname(os.path.abspath(self._process.state))
            raise SettingError(
                f"--state {self._process.state}: {who.pw_name} may not write in {folder}; type: "
                f"install -d -o {who.pw_name} -m 700 /run/relay, and give --state /run/relay/state"
            )

    def _leave(self) -> None:
        now = time.monotonic()
        for relay in self._relays:
            if relay.pair.logoff_on_exit:
                self._act(relay, relay.session.goodbye(now)[0])
            elif relay.session.state == State.ONLINE:
                self._journal.say(
                    relay.name, "info", "stopping; the switch keeps the session until it misses us"
                )
        self._save()
        self._desk.close()
