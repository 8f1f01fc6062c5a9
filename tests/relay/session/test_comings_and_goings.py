"""PCs and switches that come, go, return or are not the ones that are known."""

import pytest

from shoestring.relay import frames
from shoestring.relay.frames import FAILURE, LOGOFF, PAE_GROUP, REQUEST, RESPONSE, SUCCESS
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, World
from shoestring.relay.session.effects import LAN, WAN, State
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import Settings

from .situations import OTHER, PC, SWITCH, eap, events, logged_in, sent, start


def test_a_returning_pc_logs_in_through_the_relay():
    world = logged_in()
    world.run(100)
    world.switch_off()
    world.run(1000)
    world.switch_on()
    world.run(1000)
    assert world.online
    assert world.switch.counts["logins"] + world.switch.counts["reauths"] == 2
    assert world.switch.counts["lost"] == 0


def test_a_returning_pc_that_gives_up_does_not_end_the_session():
    world = logged_in()
    world.switch_off()
    world.run(1000)
    world.session.feed(LAN, start(src=world.pc.mac), world.now)
    assert world.session.state == State.RELAYING
    world.run(1000)
    assert world.online


def test_logoff_is_dropped_or_forwarded():
    assert logged_out("drop").online
    gone = logged_out("forward")
    assert gone.switch.counts["logoffs"] == 1
    assert events(gone) == ["success", "offline"]


def logged_out(logoff: str) -> World:
    world = logged_in(Settings(logoff=logoff))
    world.switch_off()
    world.run(30)
    return world


def test_goodbye_ends_the_session_on_the_switch():
    world = logged_in()
    world._act(world.session.goodbye(world.now)[0])
    world.run(1)
    assert world.switch.counts["logoffs"] == 1
    assert world.session.state == State.WAITING


def test_a_second_client_is_told_apart(session):
    effects, _ = session.feed(LAN, start(src=OTHER), 5.0)
    assert not sent(effects, WAN)
    assert session.counters["strangers"] == 1
    assert session.client == PC


@pytest.mark.parametrize("starts", ["pc", "none", "all"])
def test_another_pc_follows_one_that_left_only_where_the_settings_say_so(starts):
    world = logged_in(Settings(starts=starts))
    session = world.session
    session.feed(LAN, frames.build(PAE_GROUP, world.pc.mac, LOGOFF), world.now + 5)
    assert bool(sent(session.feed(LAN, start(src=OTHER), world.now + 6)[0], WAN)) is (starts == "all")
    assert session.peers.proven_client == world.pc.mac
    assert bool(sent(session.feed(LAN, start(src=world.pc.mac), world.now + 80)[0], WAN)) is (
        starts != "none"
    )


def test_another_pc_follows_a_silent_one_while_nothing_is_proven():
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    session.feed(LAN, start(), 1.0)
    assert not sent(session.feed(LAN, start(src=OTHER), 20.0)[0], WAN)
    assert sent(session.feed(LAN, start(src=OTHER), 40.0)[0], WAN)


def test_only_the_configured_pc_may_log_in():
    session = Session(Settings(client=PC), WAN_MAC, LAN_MAC)
    assert not sent(session.feed(LAN, start(src=OTHER), 1.0)[0], WAN)
    assert sent(session.feed(LAN, start(), 2.0)[0], WAN)


def test_another_switch_is_told_apart_until_the_first_is_silent(session):
    assert session.feed(WAN, eap(FAILURE, 9, src=OTHER), 5.0)[0][-1].level == "info"
    assert session.state == State.ONLINE
    session.feed(WAN, eap(FAILURE, 9, src=OTHER), 500.0)
    assert session.state == State.ONLINE, "not even later by a Failure"
    session.feed(WAN, eap(REQUEST, 9, b"\1", src=OTHER), 500.0)
    assert session.server == SWITCH, "it has proven nothing yet"
    session.feed(WAN, eap(FAILURE, 9, src=OTHER), 501.0)
    assert session.state == State.ONLINE, "nor can it refuse what it has not granted"
    session.feed(WAN, eap(REQUEST, 10, b"\1", src=OTHER), 502.0)
    session.feed(WAN, eap(SUCCESS, 10, src=OTHER), 502.1)
    assert session.server == SWITCH, "nobody has answered it"
    session.feed(LAN, eap(RESPONSE, 10, b"\1alice", src=PC), 502.2)
    session.feed(WAN, eap(SUCCESS, 10, src=OTHER), 503.0)
    assert session.server == OTHER


def test_another_switch_is_accepted_at_once_where_the_link_was_lost(session):
    session.link(WAN, False, 5.0)
    session.link(WAN, True, 6.0)
    session.feed(WAN, eap(REQUEST, 9, b"\1", src=OTHER), 7.0)
    session.feed(LAN, eap(RESPONSE, 9, b"\1alice", src=PC), 7.05)
    session.feed(WAN, eap(SUCCESS, 9, src=OTHER), 7.1)
    assert session.server == OTHER


def test_a_switch_that_spoke_before_the_login_is_not_locked_for_it():
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    session.feed(WAN, eap(REQUEST, 1, b"\1", src=OTHER), 0.0)
    session.feed(LAN, start(), 1.0)
    session.feed(WAN, eap(REQUEST, 1, b"\1"), 1.1)
    assert session.server == SWITCH


def test_after_a_failure_any_switch_may_ask_again(session):
    session.feed(WAN, eap(FAILURE, 9), 5.0)
    session.tick(6.0)
    effects, _ = session.feed(WAN, eap(REQUEST, 9, b"\1", src=OTHER), 6.0)
    assert sent(effects, LAN)


def test_strangers_are_named_a_bounded_number_of_times(session):
    lines = 0
    for number in range(1000):
        effects, _ = session.feed(LAN, start(src=b"\2\2" + number.to_bytes(4, "big")), 5.0)
        lines += len(effects)
    assert lines == 16
    assert session.counters["strangers"] == 1000
