"""What happens in the field, and what must come out: frames/sequences.md and the behaviours of frames/README.md."""

from itertools import pairwise

import pytest

from shoestring.relay import frames
from shoestring.relay.frames import IDENTITY, NAK, ONLINE
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, World
from shoestring.relay.lab.switch import Rules
from shoestring.relay.session.effects import LAN, WAN, State
from shoestring.relay.session.session import Session
from shoestring.relay.session.table import Proof
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import ruijie

from ..field import OTHER, PC, SWITCH, Desk, eap, from_switch, load

PRIORITY = bytes.fromhex("81006000")


def desk(**settings) -> Desk:
    return Desk(Session(Settings(**settings), WAN_MAC, LAN_MAC))


def test_1_type_20_among_handshakes_ends_nothing():
    relay = desk()
    relay.login()
    relay.leave(2)
    for at in range(15, 3600, 15):
        (answer,) = relay.feed(WAN, eap(1, at % 256, b"\1"), at)
        assert answer.eap.data == b"\1alice"
        assert answer.eap.id == at % 256
        if at == 60:
            assert not relay.feed(WAN, from_switch("h3c-request-20"), 61)
    assert relay.hooks == ["success"]
    assert relay.session.state == State.ONLINE
    assert all(frame.eap.type != NAK for frame in relay.to_switch() if frame.eap)


@pytest.mark.parametrize("success", ["ruijie-58-success-in-eap", "ruijie-bistu-success"])
@pytest.mark.parametrize("asks", [b"\4\x10" + bytes(16), b"\x19\x20", b"\7"])
def test_2_the_echo_goes_on_over_a_request_that_nobody_can_answer(success, asks):
    relay = desk()
    relay.login(success=from_switch(success))
    relay.leave(2)
    relay.feed(WAN, eap(1, 7, asks), 60)
    relay.until(3600)
    assert relay.session.state == State.ONLINE
    assert relay.hooks == ["success"]
    echoes = [at for at, _, raw in relay.sent if raw[15] == frames.ECHO]
    assert len(echoes) >= 3560 / 30
    assert all(late - early <= 30 for early, late in pairwise(echoes))


@pytest.mark.parametrize("identity", [None, b"alice"])
def test_3_and_4_a_guest_takes_nothing_and_the_relay_never_says_his_name(identity):
    relay = desk(password=b"wonder", identity=identity)
    relay.login()
    relay.leave(2)
    guest = frames.build(frames.PAE_GROUP, OTHER, frames.START)
    for at in (3600, 3700):
        relay.feed(LAN, guest, at)
        relay.feed(LAN, eap(2, 9, b"\1guest", src=OTHER, dst=SWITCH), at + 1)
    assert relay.session.state == State.ONLINE
    relay.feed(WAN, eap(4, 9), 4000)
    relay.until(4010)
    starts = [frame for frame in relay.to_switch(4000) if frame.type == frames.START]
    assert starts
    relay.feed(WAN, eap(1, 10, b"\1"), 4011)
    names = {frame.eap.data for frame in relay.to_switch() if frame.eap and frame.eap.type == IDENTITY}
    assert names == {b"\1alice"}


def test_a_guest_who_fails_while_nothing_stands_leaves_nothing_behind():
    relay = desk(password=b"wonder", identity=b"alice")
    relay.feed(LAN, frames.build(frames.PAE_GROUP, OTHER, frames.START), 0.5)
    relay.feed(WAN, eap(1, 1, b"\1"), 0.6)
    relay.feed(LAN, eap(2, 1, b"\1guest", src=OTHER, dst=SWITCH), 0.7)
    relay.feed(WAN, eap(4, 1), 0.8)
    for at in range(10, 2000, 10):
        relay.feed(WAN, eap(1, 1, b"\1"), at)
    names = [frame.eap.data for frame in relay.to_switch(0.8) if frame.eap]
    assert set(names) == {b"\1alice"}


@pytest.mark.parametrize("reauth", [0.0, 3600.0])
@pytest.mark.parametrize("dialect", ["plain", "ruijie", "h3c"])
def test_5_double_authentication_without_a_pc(dialect, reauth):
    settings = Settings(successes=2, identity=b"student", password=b"secret")
    world = World(settings, Rules(dialect=dialect, steps=2, reauth=reauth, handshake=60.0))
    world.run(3 * 86400)
    assert world.online
    assert world.switch.counts["lost"] == 0
    assert [event for _, event in world.hooks] == ["success", "success"]


def test_double_authentication_waits_for_a_pc_that_is_there():
    relay = desk(successes=2)
    relay.login()
    relay.until(600)
    assert relay.session.machine.proof == Proof.PARTIAL
    relay.login(at=601)
    assert relay.session.state == State.ONLINE
    assert relay.hooks == ["success", "success"]


def test_6_the_key_of_a_real_success_keeps_the_session():
    relay = desk()
    relay.login(success=from_switch("ruijie-58-success-in-eap"))
    relay.leave(2)
    relay.until(3600)
    echoes = [frame for frame in relay.to_switch() if frame.type == frames.ECHO]
    assert len(echoes) >= 119
    assert {ruijie.parse_echo(frame.body)[0] for frame in echoes} == {0x32764AE1}
    assert relay.session.state == State.ONLINE
    assert relay.session.accounting.startswith("您当前使用的服务为学生Web包月计费")


def test_7_a_pc_that_echoes_every_30_s_is_there_though_alive_is_20():
    relay = desk()
    relay.login(success=from_switch("ruijie-bistu-success"))
    for number in range(1, 100):
        echo = frames.build(SWITCH, PC, frames.ECHO, ruijie.echo_body(0x284C, 0x102A + number))
        (passed,) = relay.feed(LAN, echo, 1 + 30 * number)
        assert ruijie.parse_echo(passed.body) == (0x284C, 0x102A + number)
    assert relay.session.present
    assert relay.session.counters["echoes"] == 0


@pytest.mark.parametrize("period", [10, 60, 180])
@pytest.mark.parametrize("password", [None, b"wonder"])
def test_8_a_failure_that_is_followed_by_a_request_is_no_loss(period, password):
    relay = desk(password=password)
    relay.login()
    for at in range(period, 40 * period, period):
        sent = len(relay.sent)
        relay.feed(WAN, eap(4, 0), at)
        relay.feed(WAN, eap(1, 1, b"\1"), at)
        assert [frames.decode(raw).eap.code for _, _, raw in relay.sent[sent:]] == [4, 1], "both, in order"
        relay.feed(LAN, eap(2, 1, b"\1alice", src=PC, dst=SWITCH), at + 0.5)
        relay.feed(WAN, eap(3, 1), at + 8)
        assert relay.session.state == State.ONLINE
    assert relay.hooks == ["success"]


def test_a_failure_that_nothing_follows_is_a_loss():
    relay = desk()
    relay.login()
    relay.feed(WAN, eap(4, 0), 100)
    relay.until(102)
    assert relay.hooks == ["success", "failure", "offline"]
    assert relay.session.state == State.WAITING


def test_a_switch_that_refuses_and_asks_for_ever_is_a_loss_too():
    relay = desk()
    relay.login()
    relay.leave(2)
    for at in range(100, 110):
        relay.feed(WAN, eap(4, 0), at)
        relay.feed(WAN, eap(1, 1, b"\x19\x20"), at + 0.001)
    assert relay.hooks == ["success", "failure", "offline"]


def test_9_each_side_sees_tags_as_it_sends_them():
    relay = desk()
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START), 1)
    relay.feed(WAN, eap(1, 1, b"\1", tags=PRIORITY), 1)
    (passed,) = relay.feed(LAN, eap(2, 1, b"\1alice", src=PC, dst=SWITCH), 1)
    assert passed.tags == PRIORITY
    relay.feed(WAN, eap(3, 1, tags=PRIORITY), 1)
    assert [frames.decode(raw).tags for _, side, raw in relay.sent if side == LAN] == [b"", b""]
    relay.leave(2)
    (answer,) = relay.feed(WAN, eap(1, 2, b"\1", tags=PRIORITY), 3)
    assert answer.tags == PRIORITY


@pytest.mark.parametrize("tags", [b"", bytes.fromhex("81000fff")])
def test_a_tagged_pc_on_an_untagged_switch(tags):
    relay = desk()
    pc_tags = bytes.fromhex("8100000a")
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START, tags=pc_tags), 1)
    relay.feed(WAN, eap(1, 1, b"\1", tags=tags), 1)
    assert frames.decode(relay.sent[-1][2]).tags == pc_tags
    (passed,) = relay.feed(LAN, eap(2, 1, b"\1alice", src=PC, dst=SWITCH, tags=pc_tags), 1)
    assert passed.tags == tags


def test_a_request_before_any_start_finds_the_pc_by_its_answer():
    relay = desk()
    relay.feed(WAN, eap(1, 1, b"\1"), 1)
    assert relay.sent[-1][1] == LAN
    relay.feed(LAN, eap(2, 1, b"\1alice", src=PC, dst=SWITCH), 1.1)
    relay.feed(WAN, eap(3, 1), 1.2)
    assert relay.session.client == PC
    assert relay.session.state == State.ONLINE


def test_own_answers_keep_the_back_off_when_the_switch_asks_on():
    relay = desk(identity=b"alice", password=b"wrong")
    asked = 0
    for at in range(0, 3600):
        for frame in relay.feed(WAN, eap(1, at % 256, b"\1"), at):
            if frame.eap and frame.eap.type == IDENTITY:
                asked += 1
                relay.feed(WAN, eap(4, at % 256), at)
    assert 8 <= asked <= 25
    assert len(relay.said) < 100


def test_two_challenges_in_a_row_are_both_answered_each_with_its_id():
    relay = desk(identity=b"alice", password=b"wonder")
    relay.login()
    relay.leave(2)
    first, second = (relay.feed(WAN, eap(1, id, b"\4\x10" + bytes([id]) * 16), 10)[0].eap for id in (7, 8))
    assert (first.id, second.id) == (7, 8)
    (again,) = relay.feed(WAN, eap(1, 8, b"\4\x10" + bytes([8]) * 16), 12)
    assert again.eap == second, "a repeat is answered alike"


def test_an_absent_pc_is_answered_for_well_within_six_seconds():
    relay = desk()
    relay.login()
    relay.feed(WAN, eap(1, 7, b"\1"), 100)
    relay.until(103)
    assert [frame.eap.id for frame in relay.to_switch(100)] == [7]


def test_type_20_goes_to_the_pc_first_and_its_answer_is_repeated_later():
    relay = desk()
    relay.login()
    relay.feed(WAN, from_switch("h3c-request-20"), 50)
    relay.feed(LAN, SWITCH + PC + load("h3c-response-20")[12:], 50.1)
    relay.leave(60)
    (answer,) = relay.feed(WAN, eap(1, 99, bytes([ONLINE])), 70)
    assert answer.eap.id == 99
    assert answer.body[2:] == load("h3c-response-20")[20:]


@pytest.mark.parametrize(
    "name", ["h3c-code10-skeleton", "plain-eapol-key", "plain-mka", "h3c-failure-09-text"]
)
def test_what_no_relay_knows_reaches_the_pc_unchanged(name):
    relay = desk()
    relay.login()
    relay.feed(WAN, from_switch(name), 5)
    assert relay.sent[-1][2] == PC + LAN_MAC + load(name)[12:]


def test_the_words_of_h3cs_failure_reach_log_and_hook():
    relay = desk()
    relay.login()
    relay.feed(WAN, from_switch("h3c-failure-09-text"), 5)
    relay.until(7)
    assert any("E63018: 用户不存在或者用户没有申请该服务" in text for text in relay.said)
    assert relay.session.last_message.startswith("E63018")
