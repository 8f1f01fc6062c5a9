"""One PC, one relay, one switch on a simulated clock: what must happen in each situation."""

import pytest

from shoestring.relay import frames
from shoestring.relay.frames import LOGOFF, PAE_GROUP, REQUEST, RESPONSE, RUIJIE_GROUP, SUCCESS
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, World
from shoestring.relay.lab.switch import WELCOME, Rules
from shoestring.relay.session.core import DOUBT
from shoestring.relay.session.effects import LAN, WAN, Hook, State
from shoestring.relay.session.session import Session
from shoestring.relay.session.table import Proof
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import ruijie, ruijie_client

from .situations import H3C, PASSWORD, PC, RUIJIE, SWITCH, eap, events, logged_in, sent, start

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
