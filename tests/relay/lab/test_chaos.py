"""Bad wires and bad bytes: the session never raises or stands still, and comes back with the network."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoestring.relay import frames
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, Trouble, World
from shoestring.relay.lab.switch import Rules
from shoestring.relay.session.effects import LAN, WAN, State
from shoestring.relay.session.session import Session
from shoestring.relay.session.table import TIMERS
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import ruijie

from ..field import load, names

DIALECTS = st.sampled_from(["ruijie", "h3c", "plain"])
PCMAC, SWITCHMAC = b"\2PC-PC", b"\0SWTCH"
FEW, MANY = 30_000, 1_000_000


class Weather(RuleBasedStateMachine):
    """A PC that comes and goes, wires that lose, double and reorder, links that flap; then calm."""

    @initialize(
        dialect=DIALECTS,
        password=st.booleans(),
        reauth=st.sampled_from([0.0, 900.0]),
        seed=st.integers(0, 2**16),
    )
    def begin(self, dialect, password, reauth, seed):
        rules = Rules(dialect=dialect, reauth=reauth, strict=False)
        self.world = World(Settings(password=b"secret" if password else None), rules, seed=seed)

    @rule()
    def pc_on(self):
        self.world.switch_on()

    @rule(logoff=st.booleans())
    def pc_off(self, logoff):
        self.world.switch_off(logoff)

    @rule(up=st.booleans())
    def cable(self, up):
        self.world.link(up)

    @rule(up=st.booleans())
    def pc_cable(self, up):
        self.world._act(self.world.session.link(LAN, up, self.world.now)[0])

    @rule(loss=st.floats(0, 1), duplicates=st.floats(0, 1), delay=st.floats(0.0001, 5))
    def weather(self, loss, duplicates, delay):
        self.world.trouble = Trouble(loss, duplicates, delay)

    @rule(seconds=st.floats(0.01, 2000))
    def time_passes(self, seconds):
        self.world.run(seconds)

    @invariant()
    def what_is_waited_for_is_not_in_the_past(self):
        if hasattr(self, "world"):
            deadline = self.world.session.deadline
            assert deadline is None or deadline >= self.world.now - 1e-6

    @invariant()
    def the_parts_agree(self):
        if hasattr(self, "world"):
            session = self.world.session
            if session.state == State.ONLINE:
                assert session.server is not None
                assert session.online_since is not None
            if session.state == State.BACKOFF:
                assert session.deadline is not None

    def teardown(self):
        if not hasattr(self, "world"):
            return
        world = self.world
        world.trouble = Trouble()
        world.run(30)
        world.link(False)
        world.link(True)
        world.switch_on()
        world.run(700)
        assert world.online, (world.session.state, world.said[-8:], world.switch.faults[-3:])


Weather.TestCase.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWeather = Weather.TestCase


def state_of(session: Session) -> dict:
    kept = {**vars(session), **vars(session.peers)}
    for name in ("now", "peers", "_client_at", "_server_at", "_out"):
        del kept[name]
    machine = kept.pop("machine")
    kept |= {"proof": machine.proof, "login": machine.login, "timers": machine.timers}  # any frame shows a PC
    return {name: repr(vars(value) if hasattr(value, "__dict__") else value) for name, value in kept.items()}


def online() -> Session:
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    for side, raw in golden():
        session.feed(side, raw, 1.0)
    assert session.state == State.ONLINE
    return session


def golden() -> list[tuple[str, bytes]]:
    """Every kind of frame, as both sides send them."""
    pc = Pc("ruijie", PCMAC)
    out = pc.switch_on(0.0)[0]
    world = [(LAN, out[0])]
    for data in (b"\1", b"\4\x10" + bytes(16)):
        request = frames.encode_eap(frames.Eap(frames.REQUEST, 7, data, b""))
        raw = frames.build(WAN_MAC, SWITCHMAC, frames.EAP, request)
        world.append((WAN, raw))
        world += [(LAN, answer) for answer in pc.feed(PCMAC + raw[6:], 0.1)[0]]
    key = ruijie.MAGIC + b"\1\1" + bytes.fromhex("ffff3777af7fb391ad78ffff7fcbff")
    success = frames.encode_eap(frames.Eap(frames.SUCCESS, 7, b"", key))
    return [*world, (WAN, frames.build(WAN_MAC, SWITCHMAC, frames.EAP, success))]


def corpus() -> list[tuple[str, bytes]]:
    """The frames that were seen in the field, as from our peers."""
    both = [
        [(LAN, LAN_MAC + PCMAC + raw[12:]), (WAN, WAN_MAC + SWITCHMAC + raw[12:])]
        for raw in map(load, names())
    ]
    return [each for sides in both for each in sides]


def garbage(chance: random.Random) -> bytes:
    """Bytes that are no EAPOL frame, frames of strangers, and broken frames of the locked peers."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randbytes(chance.randrange(80))
    if kind == 1:
        return chance.randbytes(12) + frames.ETHERTYPE + chance.randbytes(chance.randrange(60))
    src, dst = chance.choice([(PCMAC, LAN_MAC), (SWITCHMAC, WAN_MAC)])
    if kind == 2:  # an EAP packet whose code or length is impossible
        body = bytes([chance.choice([0, *range(5, 256)])]) + chance.randbytes(chance.randrange(40))
        return frames.build(dst, src, frames.EAP, body)
    return (dst + src + frames.ETHERTYPE)[: chance.randrange(18)]


def fuzz(rounds: int, seed: int) -> None:
    session = online()
    before = state_of(session)
    chance = random.Random(seed)
    for _ in range(rounds):
        raw = garbage(chance)
        effects, _ = session.feed(chance.choice((LAN, WAN)), raw, 2.0)
        assert len(effects) <= 2
    assert state_of(session) == before


def mutate(rounds: int, seed: int) -> None:
    session = online()
    chance = random.Random(seed)
    made, real = golden(), corpus()
    now = 2.0
    for _ in range(rounds):
        side, raw = chance.choice(chance.choice((made, real)))
        changed = bytearray(raw)
        for _ in range(chance.randrange(4)):
            changed[chance.randrange(12, len(changed))] = chance.randrange(256)
        now += chance.random()
        effects, deadline = session.feed(side, bytes(changed[: chance.randrange(len(changed) + 1)]), now)
        assert len(effects) <= 8
        if deadline is not None and deadline <= now:
            session.tick(now)
    assert len(session.machine.timers) <= len(TIMERS)
    assert len(session._out._strangers) <= 16


def test_garbage_changes_nothing():
    fuzz(FEW, 1)


def test_mutated_frames_raise_nothing_and_leave_nothing_behind():
    mutate(FEW, 2)


@pytest.mark.slow
def test_half_a_million_frames_of_garbage():
    fuzz(MANY // 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_million_mutated_frames_half_of_them_seen_in_the_field(seed):
    mutate(MANY // 10, 4 + seed)
