"""All sequences of events to a small depth keep the laws, and the prover sees it where one is broken."""

import pytest

from shoestring.relay.lab import prove
from shoestring.relay.lab.prove import CASES, LOGIN, Breach
from shoestring.relay.session import table
from shoestring.relay.session.core import Core
from shoestring.relay.session.memory import Memory
from shoestring.relay.session.peers import Peers
from shoestring.relay.session.table import Event, Login, Presence, Proof

WAITING, ONLINE = "waiting", "on line"


@pytest.mark.parametrize("where", [WAITING, ONLINE])
@pytest.mark.parametrize("case", CASES)
def test_every_sequence_of_two_events_keeps_the_laws(case, where):
    settings = CASES[case]
    found = prove.prove(settings, 2, LOGIN * settings.successes if where == ONLINE else ())
    assert found.states > 70


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_sequence_of_four_events_keeps_the_laws(case):
    settings = CASES[case]
    assert prove.prove(settings, 4, LOGIN * settings.successes).states > 3000


def let_anyone_in(patch):
    patch.setattr(Peers, "_may_be_client", lambda *_: True)


def believe_what_is_heard(patch):
    patch.setattr(Memory, "user", property(lambda self: self.heard.user or self.proven.user))


def take_doubt_for_loss(patch):
    patch.setattr(Core, "_doubt", lambda self: self._lose("a request stayed unanswered"))


def let_any_switch_refuse(patch):
    patch.setattr(
        Peers, "hear_server", lambda self, frame, *_: bool(setattr(self, "server", frame.src)) or True
    )


def drop_every_start(patch):
    patch.setattr(table, "LOGIN", {**table.LOGIN, Login.IDLE: {}})


@pytest.mark.parametrize(
    "fault",
    [let_anyone_in, believe_what_is_heard, take_doubt_for_loss, let_any_switch_refuse, drop_every_start],
)
def test_the_prover_finds_what_is_wrong(fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises((Breach, KeyError)):
        prove_every_case(3)


def prove_every_case(depth: int) -> None:
    for settings in CASES.values():
        prove.prove(settings, depth, LOGIN * settings.successes)


# The table itself


def words(states: type) -> set[str]:
    return {word for name, word in vars(states).items() if name.isupper()}


def test_the_tables_name_every_state_and_only_known_events():
    for states, transitions in ((Proof, table.PROOF), (Login, table.LOGIN), (Presence, table.PRESENCE)):
        assert set(transitions) == words(states)
        for ways in transitions.values():
            assert set(ways) <= words(Event)
            assert set(ways.values()) <= words(states)


def test_only_a_success_proves_and_only_a_failure_or_a_logoff_ends_what_is_proven():
    for state, ways in table.PROOF.items():
        for event, to in ways.items():
            if to in table.HELD and state not in table.HELD:
                assert event in (Event.SUCCESS, Event.STEP)
            if state in table.HELD and to not in table.HELD:
                assert event in (Event.FAILURE, Event.LOST)


def test_a_login_may_begin_in_every_state_and_timers_stop_where_they_may_not_run():
    for state in table.LOGIN:
        assert state == Login.PC or table.LOGIN[state].get(Event.BEGIN) == Login.PC
    for proof in table.PROOF:
        for event in words(Event):
            machine = table.Machine()
            machine.proof = proof
            machine.timers = dict.fromkeys(table.TIMERS, 1.0)
            machine.on(event)
            assert all(machine.may_run(name) for name in machine.timers)
    with pytest.raises(KeyError):
        table.Machine().set("grace", 1.0)
