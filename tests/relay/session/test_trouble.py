"""Failures, links that are lost, full settings and forged frames."""

import pytest

from shoestring.relay.frames import FAILURE, REQUEST, SUCCESS
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, World
from shoestring.relay.lab.switch import REFUSED
from shoestring.relay.session.effects import LAN, WAN, Hook, State
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import SettingError, Settings

from .situations import H3C, OTHER, PASSWORD, PLAIN, RUIJIE, eap, events, logged_in, sent, start


def test_failure_shows_the_reason_and_backs_off_when_a_password_is_known():
    world = World(Settings(password=b"wrong", identity=b"student"), RUIJIE)
    world.run(7200)
    pauses = [float(text.split()[-2]) for _, _, text in world.said if text.startswith("next login")]
    assert pauses[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(pauses[9:]) == {300}
    assert REFUSED in world.session.last_message
    assert set(events(world)) == {"failure"}


def test_the_relay_logs_in_by_itself_where_it_may():
    world = World(Settings(password=b"secret", identity=b"student"), PLAIN)
    world.run(10)
    assert world.online


def test_no_relogin_waits_for_the_pc():
    world = logged_in(Settings(password=b"secret", relogin=False))
    world._from_switch([eap(FAILURE, 9, src=world.switch.mac, dst=WAN_MAC)])
    world.run(1.1)
    assert world.session.state == State.WAITING
    assert world.session.deadline is None


def test_failure_after_a_login_of_our_own_comes_back_by_itself():
    world = logged_in(PASSWORD)
    world.switch_off()
    world.run(100)
    world.switch._put_off("the administrator")
    world._from_switch(world.switch._done()[0])
    world.run(10)
    assert world.online
    assert events(world) == ["success", "failure", "offline", "success"]


@pytest.mark.parametrize("pause", [1.0, 30.0, 500.0])
@pytest.mark.parametrize("rules", [RUIJIE, PLAIN, H3C], ids=lambda rules: rules.dialect)
def test_a_link_flap_with_password_and_without_pc(rules, pause):
    world = logged_in(PASSWORD, rules)
    world.switch_off(logoff=False)
    world.run(100)
    world.link(False)
    world.run(pause)
    world.link(True)
    world.run(320)
    assert world.online


@pytest.mark.parametrize("pause", [1.0, 30.0, 500.0])
def test_a_link_flap_with_the_pc_and_without_password(pause):
    world = logged_in(rules=PLAIN)
    world.link(False)
    world.run(pause)
    world.link(True)
    world.run(120)
    assert world.online


def test_no_frame_is_sent_while_the_link_is_down():
    world = logged_in()
    world.switch_off()
    world.run(100)
    world.link(False)
    before = world.session.counters["echoes"]
    world.run(59)
    assert before > 0
    assert world.session.counters["echoes"] == before
    assert world.session.counters["link_down"] == 0


def test_offline_is_told_after_a_minute_without_link():
    world = logged_in()
    world.link(False)
    world.run(59)
    assert events(world) == ["success"]
    world.run(2)
    assert events(world) == ["success", "offline"]


def test_lan_link_loss_means_that_the_pc_is_gone(session):
    session.link(LAN, False, 50.0)
    effects, _ = session.feed(WAN, eap(REQUEST, 7, b"\1"), 60.0)
    assert sent(effects, WAN)


def test_a_new_address_of_the_interface_is_used_at_once(session):
    session.link(WAN, True, 50.0, b"\2NEWMA")
    assert sent(session.feed(LAN, start(), 51.0)[0], WAN)[0][6:12] == b"\2NEWMA"


# Security


def test_success_without_a_login_opens_nothing():
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    session.feed(WAN, eap(SUCCESS, 1), 0.0)
    session.feed(WAN, eap(REQUEST, 1, b"\1"), 0.0)
    session.feed(WAN, eap(SUCCESS, 1), 0.0)
    assert session.state == State.WAITING


def test_frames_to_others_are_not_ours(session):
    session.feed(WAN, eap(FAILURE, 1, dst=OTHER), 5.0)
    assert session.state == State.ONLINE


def test_hook_values_are_texts_without_the_password():
    world = World(PASSWORD, RUIJIE)
    world.switch_on()
    values = []
    act = world._act
    world._act = lambda effects: (
        values.extend(e.values for e in effects if isinstance(e, Hook)),
        act(effects),
    )
    world.run(5)
    assert values[0]["EVENT"] == "success"
    assert all(isinstance(value, str) and "secret" not in value for value in values[0].values())


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"keepalive": "magic"}, "allowed: auto"),
        ({"keepalive": "md5"}, "--password-file"),
        ({"echo_interval": 1}, "5 to 300"),
        ({"successes": 0}, "1 to 9"),
        ({"logoff": "maybe"}, "drop"),
        ({"payload": "yes"}, "mac"),
        ({"client_timeout": 0}, "2 to 3600"),
    ],
)
def test_settings_name_what_is_allowed(wrong, hint):
    with pytest.raises(SettingError, match=hint):
        Settings(**wrong)
