"""All states of a session, and every way from one to another, in tables that a reader can check.

Three things are known apart from each other, so a session stands in one state of each:

- `Proof`: what the switch's Success has proven. Only a Success raises it; only a Failure or a Logoff takes it
  away, because a switch that says nothing may hold the session. It is doubted where a request stayed unanswered.
- `Login`: who is logging in. A login stands beside the proof and never lowers it.
- `Presence`: whether the PC is there to answer.

States and events are plain words, equal or not: importing `enum` takes half a megabyte of a router's memory.

`TIMERS` says in which states a timer may run: entering any other state stops it. That is all that an event clears,
apart from what `Core` and its halves name beside their calls of `Machine.on`.
"""

from __future__ import annotations


class Proof:
    """What a Success has proven."""

    NONE = "none"  # nothing, or a Failure has ended it
    PARTIAL = "partial"  # some of the successes that double authentication takes
    ONLINE = "online"  # the switch has let us in
    DOUBTED = "doubted"  # so it had, but a request stayed unanswered or the link was down
    LAPSED = "lapsed"  # doubted for so long that anyone may log in; kept alive all the same
    REFUSED = "refused"  # a Failure came a moment ago; some switches ask again at once and go on


class Login:
    """Who is logging in."""

    IDLE = "idle"
    PC = "pc"
    OWN = "own"  # the relay, by its password
    PAUSE = "pause"  # the relay after a pause


class Presence:
    """Whether the PC is there."""

    AWAY = "away"
    HERE = "here"


class Event:
    """What can happen."""

    BEGIN = "the PC begins a login: a Start, or a response while nothing is proven"
    LEAVE = "the PC logs off, loses its link, or does not answer"
    SPEAK = "the PC says anything else"
    OWN = "it is time for a login of our own"
    STEP = "a Success that is not the last of several"
    SUCCESS = "the Success that opens the port"
    FAILURE = "a Failure of the switch that is trusted"
    NOTHING = "a login has come to nothing: silence, or a Failure of a switch that has proven nothing"
    UNANSWERED = "a request that nobody can answer, or a link that came back"
    LIFE = "the switch goes on as one that holds the session"
    LAPSE = "90 s of doubt, or 60 s without link"
    LOST = "a Failure that no request followed, or our own Logoff"
    RETRY = "a login of our own will follow after a pause"


P, L, H, E = Proof, Login, Presence, Event

PROOF = {
    P.NONE: {E.STEP: P.PARTIAL, E.SUCCESS: P.ONLINE},
    P.PARTIAL: {E.SUCCESS: P.ONLINE, E.FAILURE: P.REFUSED, E.LOST: P.NONE},
    P.ONLINE: {E.UNANSWERED: P.DOUBTED, E.LAPSE: P.LAPSED, E.FAILURE: P.REFUSED, E.LOST: P.NONE},
    P.DOUBTED: {
        E.SUCCESS: P.ONLINE,
        E.LIFE: P.ONLINE,
        E.LAPSE: P.LAPSED,
        E.FAILURE: P.REFUSED,
        E.LOST: P.NONE,
    },
    P.LAPSED: {E.SUCCESS: P.ONLINE, E.LIFE: P.ONLINE, E.FAILURE: P.REFUSED, E.LOST: P.NONE},
    P.REFUSED: {E.STEP: P.PARTIAL, E.SUCCESS: P.ONLINE, E.LOST: P.NONE},
}

LOGIN = {
    L.IDLE: {E.BEGIN: L.PC, E.OWN: L.OWN, E.RETRY: L.PAUSE},
    L.PC: {E.STEP: L.IDLE, E.SUCCESS: L.IDLE, E.FAILURE: L.IDLE, E.NOTHING: L.IDLE, E.LEAVE: L.IDLE},
    L.OWN: {E.BEGIN: L.PC, E.STEP: L.IDLE, E.SUCCESS: L.IDLE, E.FAILURE: L.IDLE, E.NOTHING: L.IDLE,
            E.LOST: L.IDLE, E.RETRY: L.PAUSE},
    L.PAUSE: {E.BEGIN: L.PC, E.OWN: L.OWN, E.STEP: L.IDLE, E.SUCCESS: L.IDLE, E.LOST: L.IDLE},
}  # fmt: skip

PRESENCE = {
    H.AWAY: {E.BEGIN: H.HERE, E.SPEAK: H.HERE},
    H.HERE: {E.LEAVE: H.AWAY},
}

ANY_PROOF, ANY_LOGIN = tuple(PROOF), tuple(LOGIN)
HELD = (P.PARTIAL, P.ONLINE, P.DOUBTED, P.LAPSED)  # the switch may hold the session: it is kept alive
PROVEN = (*HELD, P.REFUSED)  # what was proven is not replaced by what is not

# Name of a timer: the proofs and the logins in which it may run.
TIMERS = {
    "silence": (ANY_PROOF, (L.PC, L.OWN)),  # a login comes to nothing
    "login": (ANY_PROOF, (L.PAUSE,)),  # the pause before our own login is over
    "next": ((P.PARTIAL,), (L.IDLE,)),  # the PC has not gone on with the next of several logins
    "answer": (ANY_PROOF, ANY_LOGIN),  # the PC has not answered a request
    "echo": (HELD, ANY_LOGIN),
    "start": (HELD, (L.IDLE,)),  # after the link came back: ask the switch to begin again
    "link": (PROVEN, ANY_LOGIN),  # the link is down for long
    "doubt": ((P.DOUBTED,), ANY_LOGIN),
    "calm": ((P.DOUBTED, P.LAPSED), ANY_LOGIN),  # an answered identity was not followed by a challenge
    "grace": ((P.REFUSED,), ANY_LOGIN),  # no request has followed a Failure
}


class Machine:
    """Where a session stands, and its timers."""

    def __init__(self) -> None:
        self.proof: str = Proof.NONE
        self.login: str = Login.IDLE
        self.presence: str = Presence.AWAY
        self.timers: dict[str, float] = {}

    def on(self, event: str) -> None:
        """Takes an event: every part that has a way for it goes there, and timers that may not run there stop."""
        self.proof = PROOF[self.proof].get(event, self.proof)
        self.login = LOGIN[self.login].get(event, self.login)
        self.presence = PRESENCE[self.presence].get(event, self.presence)
        for name in [name for name in self.timers if not self.may_run(name)]:
            del self.timers[name]

    def may_run(self, name: str) -> bool:
        """Whether a timer may run where the session stands."""
        proofs, logins = TIMERS[name]
        return self.proof in proofs and self.login in logins

    def set(self, name: str, when: float) -> None:
        """Starts a timer, or sets it anew."""
        if not self.may_run(name):
            raise KeyError(f"timer {name} in {self.proof}, {self.login}")
        self.timers[name] = when

    def stop(self, *names: str) -> None:
        """Stops timers, those that run."""
        for name in names:
            self.timers.pop(name, None)

    @property
    def deadline(self) -> float | None:
        """When the first timer is due."""
        return min(self.timers.values()) if self.timers else None
