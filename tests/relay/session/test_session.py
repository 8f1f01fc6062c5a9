"""One PC, one relay, one switch on a simulated clock: what must happen in each situation."""

import pytest

from shoestring.relay import frames
from shoestring.relay.frames import (
    FAILURE,
    LOGOFF,
    PAE_GROUP,
    REQUEST,
    RESPONSE,
    RUIJIE_GROUP,
    START,
    SUCCESS,
    Eap,
)
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, World
from shoestring.relay.lab.switch import REFUSED, WELCOME, Rules
from shoestring.relay.session.core import DOUBT
from shoestring.relay.session.effects import LAN, WAN, Hook, Send, State
from shoestring.relay.session.session import Session
from shoestring.relay.session.table import Proof
from shoestring.relay.settings.settings import SettingError, Settings
from shoestring.relay.vendors import ruijie, ruijie_client

RUIJIE, PLAIN, H3C = Rules(), Rules(dialect="plain"), Rules(dialect="h3c")
SWITCH, PC, OTHER = b"\0SWTCH", b"\2PC-PC", b"\2OTHER"
PASSWORD = Settings(password=b"secret")


USUAL = Settings()


def logged_in(settings=USUAL, rules=RUIJIE, **more) -> World:
    world = World(settings, rules, **more)
    world.switch_on()
    world.run(5)
    assert world.online, world.said
    return world


def events(world: World) -> list[str]:
    return [event for _, event in world.hooks]


def eap(code: int, id: int, data: bytes = b"", trailer: bytes = b"", src=SWITCH, dst=WAN_MAC) -> bytes:
    return frames.build(dst, src, frames.EAP, frames.encode_eap(Eap(code, id, data, trailer)))


def start(src=PC, dst=PAE_GROUP, tags=b"", trailer=b"") -> bytes:
    return frames.build(dst, src, START, tags=tags, beyond=trailer)


def sent(effects: list, side: str) -> list[bytes]:
    return [effect.frame for effect in effects if isinstance(effect, Send) and effect.side == side]


@pytest.fixture
def session() -> Session:
    """A plain session whose PC has logged in and whose switch has said yes."""
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    session.feed(LAN, start(), 1.0)
    session.feed(WAN, eap(REQUEST, 1, b"\1"), 1.1)
    session.feed(LAN, eap(RESPONSE, 1, b"\1alice", src=PC, dst=LAN_MAC), 1.2)
    session.feed(WAN, eap(SUCCESS, 2), 1.3)
    assert session.state == State.ONLINE
    return session


# Relaying


@pytest.mark.parametrize("group", [PAE_GROUP, RUIJIE_GROUP])
def test_login_goes_through_on_both_groups(group):
    world = World(Settings(), RUIJIE, pc=Pc(group=group))
    world.switch_on()
    world.run(1)
    assert world.online
    assert events(world) == ["success"]
    assert WELCOME in world.session.last_message


def test_only_addresses_change_on_the_way_and_the_trailer_stays_whole():
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    raw = start(trailer=bytes(range(200)))
    (out,) = sent(session.feed(LAN, raw, 0.0)[0], WAN)
    assert out == PAE_GROUP + WAN_MAC + raw[12:]
    request = eap(REQUEST, 1, b"\1", b"trailer" * 20)
    (back,) = sent(session.feed(WAN, request, 0.1)[0], LAN)
    assert back == PC + LAN_MAC + request[12:]


def test_vlan_tags_survive_and_answers_of_our_own_bear_them(session):
    tags = bytes.fromhex("81000064")
    tagged = start(tags=tags)
    fresh = Session(Settings(), WAN_MAC, LAN_MAC)
    assert sent(fresh.feed(LAN, tagged, 2.0)[0], WAN) == [PAE_GROUP + WAN_MAC + tagged[12:]]
    session.feed(LAN, frames.build(PAE_GROUP, PC, LOGOFF), 2.2)
    request = frames.build(WAN_MAC, SWITCH, frames.EAP, b"\1\x09\0\5\1", tags=tags)
    (answer,) = sent(session.feed(WAN, request, 3.0)[0], WAN)
    assert answer[12:16] == tags
    assert frames.decode(answer).eap.data == b"\1alice"


def test_source_can_be_kept():
    session = Session(Settings(rewrite_source=False), WAN_MAC, LAN_MAC)
    session.feed(LAN, start(), 0.0)
    (out,) = sent(session.feed(WAN, eap(REQUEST, 1, b"\1"), 0.1)[0], LAN)
    assert out[6:12] == SWITCH


def test_a_router_that_bears_the_pcs_address_relays_too():
    session = Session(Settings(), PC, LAN_MAC)
    assert sent(session.feed(LAN, start(), 0.0)[0], WAN)


def test_one_start_out_per_start_in():
    world = World(Settings(), RUIJIE)
    world.switch_on()
    world.run(300)
    assert world.session.counters["to_switch"] == 3 + world.switch.counts["echoes"]
    assert world.switch.counts["logins"] == 1


@pytest.mark.parametrize(("payload", "works"), [("off", False), ("mac", True), ("all", True)])
def test_payload_is_rewritten_only_when_asked(payload, works):
    world = World(Settings(payload=payload), Rules(check_mac=True))
    world.session.addresses = ruijie_client.Header(0, bytes([10, 9, 8, 7]), bytes(4), bytes(4), bytes(4))
    world.switch_on()
    world.run(5)
    assert world.online is works
    assert bool(world.switch.faults) is not works


def test_a_trailer_with_a_wrong_crc_is_forwarded_as_it_is():
    session = Session(Settings(payload="all"), WAN_MAC, LAN_MAC)
    raw = start(trailer=ruijie.CODED_MAGIC + bytes(100))
    (out,) = sent(session.feed(LAN, raw, 0.0)[0], WAN)
    assert out[12:] == raw[12:]


def test_a_switch_that_is_silent_at_first_gets_the_pcs_next_start():
    world = World(Settings(), Rules(silent_starts=3))
    world.switch_on()
    world.run(60)
    assert world.online


def test_double_authentication_succeeds_at_the_second_success():
    world = World(Settings(successes=2), Rules(steps=2))
    world.switch_on()
    world.run(5)
    assert world.session.state == State.RELAYING
    world.switch_on()
    world.run(5)
    assert world.online
    assert events(world) == ["success", "success"]


# Keeping the session


def test_the_pcs_echo_is_continued_without_a_gap():
    world = logged_in()
    world.run(100)
    number = world.pc.number
    world.switch_off()
    world.run(3600)
    assert world.online
    assert world.session.echo.number > number
    assert world.switch.echo_gap < 26
    assert world.switch.counts["logoffs"] == 0


def test_the_learned_interval_outlives_a_reauthentication():
    world = logged_in(PASSWORD, Rules(reauth=600))
    world.run(100)
    world.switch_off()
    world.run(3600)
    assert world.switch.counts["reauths"] >= 5
    assert world.switch.echo_gap < 26
    assert world.session.echo.interval < 21


def test_the_pc_may_vanish_without_a_word():
    world = logged_in()
    world.run(100)
    world.switch_off(logoff=False)
    world.run(3600)
    assert world.online
    assert world.switch.echo_gap < 31


def test_echo_is_learned_from_the_pc_where_the_success_is_bare():
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    session.feed(LAN, start(), 0.0)
    session.feed(WAN, eap(REQUEST, 1, b"\1"), 0.1)
    session.feed(WAN, eap(SUCCESS, 1), 0.2)
    assert session.strategy == "none"
    for number in (100, 101):
        body = ruijie.echo_body(0xCAFE, number)
        echo = frames.build(SWITCH, PC, frames.ECHO, body)
        effects, deadline = session.feed(LAN, echo, (number - 99) * 40.0)
        assert sent(effects, WAN)
    assert session.strategy == "ruijie-echo"
    effects, _ = session.tick(deadline)
    (ours,) = sent(effects, WAN)
    assert ruijie.parse_echo(frames.decode(ours).body) == (0xCAFE, 102)
    assert frames.decode(ours).length == 0x1E
    assert len(ours) == 60
    assert deadline == pytest.approx(80 + 40 + 10)


def test_identity_is_answered_for_a_pc_that_left():
    world = logged_in(rules=H3C)
    world.switch_off()
    world.run(3600)
    assert world.online
    assert world.switch.counts["handshakes"] >= 239
    assert world.session.dialect.name == "h3c"
    assert world.session.strategy == "identity"


def test_a_request_goes_to_the_pc_first(session):
    effects, deadline = session.feed(WAN, eap(REQUEST, 7, b"\1"), 100.0)
    assert sent(effects, LAN)
    assert not sent(effects, WAN)
    effects, _ = session.tick(deadline)
    (answer,) = sent(effects, WAN)
    assert frames.decode(answer).eap == frames.decode(eap(RESPONSE, 7, b"\1alice")).eap
    effects, _ = session.feed(WAN, eap(REQUEST, 8, b"\1"), 110.0)
    assert sent(effects, WAN), "a PC that did not answer is not waited for again"


def test_a_pc_that_answers_is_left_to_it(session):
    session.feed(WAN, eap(REQUEST, 7, b"\1"), 100.0)
    session.feed(LAN, eap(RESPONSE, 7, b"\1alice", src=PC), 101.0)
    assert session.deadline is None


def test_reauthentication_by_password_without_the_pc():
    world = logged_in(PASSWORD, Rules(dialect="plain", reauth=600))
    world.switch_off(logoff=False)
    world.run(86400)
    assert world.online
    assert world.switch.counts["reauths"] >= 143
    assert not world.switch.faults


def test_reauthentication_with_the_pc_is_the_pcs():
    world = logged_in(rules=Rules(dialect="plain", reauth=600))
    world.run(7200)
    assert world.online
    assert world.session.counters["answered"] == 0


def test_without_password_a_challenge_is_declined_plainly_and_nothing_is_replayed():
    world = logged_in(rules=Rules(dialect="plain", reauth=600))
    world.switch_off()
    world.run(700)
    assert any("--password-file" in text for _, _, text in world.said)
    assert not any("wrong MD5" in fault for fault in world.switch.faults)
    assert events(world) == ["success", "failure", "offline"]


def test_a_request_that_nobody_can_answer_is_doubt_and_no_loss(session):
    session.feed(LAN, frames.build(PAE_GROUP, PC, LOGOFF), 50.0)
    session.feed(WAN, eap(REQUEST, 7, b"\x19\x20"), 100.0)
    effects, _ = session.tick(100.0 + DOUBT)
    assert [effect.event for effect in effects if isinstance(effect, Hook)] == ["doubt"]
    assert session.state == State.ONLINE
    assert sent(session.feed(WAN, eap(REQUEST, 8, b"\1"), 900.0)[0], WAN), (
        "identities are answered all the same"
    )
    session.tick(905.0)
    assert session.machine.proof == Proof.ONLINE


@pytest.mark.parametrize("keepalive", ["none", "identity", "md5", "ruijie-echo"])
def test_keepalive_can_be_restricted(keepalive):
    settings = Settings(keepalive=keepalive, password=b"secret")
    world = logged_in(settings)
    world.switch_off()
    world.run(120)
    assert (world.session.counters["echoes"] > 0) is (keepalive == "ruijie-echo")
    assert world.session.strategy == keepalive


def test_notifications_are_shown_and_acknowledged(session):
    session.feed(LAN, frames.build(PAE_GROUP, PC, LOGOFF), 50.0)
    effects, _ = session.feed(WAN, eap(REQUEST, 7, b"\2" + "今晚维护".encode("gbk")), 60.0)
    assert session.last_message == "今晚维护"
    assert frames.decode(sent(effects, WAN)[0]).eap.data == b"\2"


# Comings and goings


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


# Trouble


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
