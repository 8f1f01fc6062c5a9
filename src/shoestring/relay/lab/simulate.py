"""A PC, the relay's session and a switch on a simulated clock: a month in seconds, without root or network.

- `World` carries frames between them with delay, loss, duplication and reordering, and jumps from event to
  event.
- `soak` is the month: the PC logs in, leaves, and the session has to last.
"""

from __future__ import annotations

import random
from heapq import heappop, heappush

from shoestring.relay.containers import namedtuple
from shoestring.relay.frames import mac_bytes
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.switch import Rules, Switch
from shoestring.relay.session.effects import LAN, WAN, Hook, Say, Send, State
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import Settings

DAY = 86400.0
WAN_MAC, LAN_MAC = mac_bytes("02:00:00:00:00:0a"), mac_bytes("02:00:00:00:00:0b")
STEPS = 10_000_000  # more events than that is a loop


class Trouble(namedtuple("Trouble", "loss duplicates delay", defaults=(0.0, 0.0, 0.0001))):
    """What a wire does to frames.

    Args:
        loss: share of frames lost, 0 to 1.
        duplicates: share of frames that arrive twice, 0 to 1.
        delay: seconds, the longest; a frame takes between half of it and all of it, so that frames overtake.
    """

    __slots__ = ()


class World:
    """PC -- relay -- switch.

    Args:
        settings: of the relay's session.
        rules: of the switch.
        pc: the PC; None takes one that speaks the switch's dialect.
        trouble: of both wires.
        seed: of everything random.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        pc: Pc | None = None,
        trouble: Trouble | None = None,
        seed: int = 0,
    ) -> None:
        self.now = 0.0
        self.session = Session(settings, WAN_MAC, LAN_MAC, 0.0)
        self.switch = Switch(rules, seed=seed)
        self.pcs = [pc or Pc(rules.dialect, user=rules.user, password=rules.password)]
        self.trouble = trouble or Trouble()
        self.wan_up = True
        self.said: list[tuple[float, str, str]] = []  # (when, level, text), the last thousand
        self.events = 0  # all that was said
        self.hooks: list[tuple[float, str]] = []
        self._random = random.Random(seed)
        self._wire: list[tuple[float, int, str, bytes]] = []  # (arrival, order, to whom, frame)
        self._order = 0

    @property
    def pc(self) -> Pc:
        """The first PC."""
        return self.pcs[0]

    def run(self, seconds: float) -> None:
        """Lets so much time pass."""
        end = self.now + seconds
        for _ in range(STEPS):
            now = self._next()
            if now is None or now > end:
                break
            self.now = max(self.now, now)
            self._step()
        else:
            raise RuntimeError(f"{STEPS} events in {seconds:g} s of simulated time: frames go in circles")
        self.now = end

    def _next(self) -> float | None:
        times = [node.deadline for node in (self.session, self.switch, *self.pcs)]
        if self._wire:
            times.append(self._wire[0][0])
        return min([when for when in times if when is not None], default=None)

    def _step(self) -> None:
        while self._wire and self._wire[0][0] <= self.now:
            _, _, to, frame = heappop(self._wire)
            self._deliver(to, frame)
        self._act(self.session.tick(self.now)[0])
        self._from_switch(self.switch.tick(self.now)[0])
        for pc in self.pcs:
            self._from_pc(pc.tick(self.now)[0])

    def _deliver(self, to: str, frame: bytes) -> None:
        if to == "switch":
            if self.wan_up:
                self._from_switch(self.switch.feed(frame, self.now)[0])
        elif to == "pc":
            for pc in self.pcs:
                self._from_pc(pc.feed(frame, self.now)[0])
        elif to == LAN or self.wan_up:
            self._act(self.session.feed(to, frame, self.now)[0])

    def _send(self, to: str, frame: bytes) -> None:
        chance, trouble = self._random, self.trouble
        copies = 1
        if trouble.loss or trouble.duplicates:
            copies = 0 if chance.random() < trouble.loss else 1 + (chance.random() < trouble.duplicates)
        for _ in range(copies):
            self._order += 1
            arrival = self.now + trouble.delay * chance.uniform(0.5, 1)
            heappush(self._wire, (arrival, self._order, to, frame))

    def _act(self, effects: list) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send("switch" if effect.side == WAN else "pc", effect.frame)
            elif isinstance(effect, Say):
                self.said.append((self.now, effect.level, effect.text))
                self.events += 1
                del self.said[:-1000]
            elif isinstance(effect, Hook):
                self.hooks.append((self.now, effect.event))
                del self.hooks[:-1000]

    def _from_switch(self, out: list[bytes]) -> None:
        for frame in out:
            self._send(WAN, frame)

    def _from_pc(self, out: list[bytes]) -> None:
        for frame in out:
            self._send(LAN, frame)

    def switch_on(self, which: int = 0) -> None:
        """A PC begins a login."""
        self._from_pc(self.pcs[which].switch_on(self.now)[0])

    def switch_off(self, logoff: bool = True, which: int = 0) -> None:
        """A PC leaves, with a Logoff or without."""
        self._from_pc(self.pcs[which].switch_off(self.now, logoff)[0])

    def link(self, up: bool) -> None:
        """The cable to the switch is plugged or pulled."""
        self.wan_up = up
        self._act(self.session.link(WAN, up, self.now)[0])
        self._from_switch(self.switch.link(up, self.now)[0])

    @property
    def online(self) -> bool:
        """Both ends believe that the session stands."""
        return self.switch.online and self.session.state == State.ONLINE


class SoakResult(
    namedtuple(
        "SoakResult", "days dialect strategy online echoes handshakes reauths lost late longest_gap events"
    )
):
    """What a simulated month came to.

    Args:
        days: simulated.
        dialect: of the switch.
        strategy: what kept the session alive.
        online: True if the session stands at the end and was never lost.
        echoes: that the switch took.
        handshakes: that the switch took.
        reauths: full re-authentications that succeeded.
        lost: how often the switch put the client off line.
        late: how often that was for a missing echo.
        longest_gap: seconds between two echoes, the longest.
        events: log lines of level info or above.
    """

    __slots__ = ()


def soak(
    days: float = 30.0, rules: Rules | None = None, settings: Settings | None = None, seed: int = 0
) -> SoakResult:
    """Logs a PC in, sends it away after five minutes, and keeps the session for so many simulated days.

    >>> result = soak(days=1)
    >>> result.online, result.lost, result.strategy
    (True, 0, 'ruijie-echo')
    """
    rules = rules or Rules()
    world = World(settings or Settings(), rules, seed=seed)
    world.run(1)
    world.switch_on()
    world.run(300)
    world.switch_off()
    world.run(days * DAY - 301)
    switch = world.switch
    return SoakResult(
        days, rules.dialect, world.session.strategy, world.online and switch.counts["lost"] == 0,
        switch.counts["echoes"], switch.counts["handshakes"], switch.counts["reauths"], switch.counts["lost"],
        switch.counts["late"], round(switch.echo_gap, 3), world.events,
    )  # fmt: skip
