"""What H3C, Dr.COM and CERNET put into their packets: whose words they are, and whose address they bear."""

import pytest

from shoestring.relay import frames
from shoestring.relay.frames import Eap
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC
from shoestring.relay.session.effects import LAN, WAN
from shoestring.relay.session.memory import Memory
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import KEEPALIVES, Settings
from shoestring.relay.vendors import ruijie_client

from ..field import PC, SWITCH, Desk, eap, from_switch, load

OLD_ADDRESS, NEW_ADDRESS = bytes([192, 0, 2, 56]), bytes([198, 51, 100, 7])


def desk(**settings) -> Desk:
    relay = Desk(Session(Settings(**settings), WAN_MAC, LAN_MAC))
    relay.session.addresses = ruijie_client.Header(1, NEW_ADDRESS, *(bytes(4),) * 3)
    return relay


@pytest.mark.parametrize("before", [True, False])
def test_words_on_the_account_reach_log_status_and_hook_wherever_they_come(before):
    """H3C sends them in a packet of their own, of EAP code 10, around the Success."""
    relay = desk()
    words = from_switch("h3c-account-words")
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START), 1.0)
    relay.feed(WAN, eap(1, 1, b"\1"), 1.0)
    relay.feed(LAN, eap(2, 1, b"\1alice", src=PC, dst=SWITCH), 1.0)
    for raw in (words, eap(3, 2)) if before else (eap(3, 2), words):
        relay.feed(WAN, raw, 1.1)
    assert relay.session.accounting == "您的帐户余额为4.20元 剩余上网时长100小时"
    assert relay.hooks == (["account", "success"] if before else ["success", "account"])
    assert relay.said.count(f"the switch says of the account: {relay.session.accounting}") == 1
    assert frames.decode(relay.sent[-2 if before else -1][2]).body == frames.decode(words).body
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START), 9.0)
    relay.feed(WAN, eap(1, 1, b"\1"), 9.0)
    relay.feed(LAN, eap(2, 1, b"\1bob", src=PC, dst=SWITCH), 9.0)
    relay.feed(WAN, eap(3, 2), 9.0)
    assert relay.session.accounting == ""  # of another user


@pytest.mark.parametrize("failure", ["drcom-failure-08-fcs", "plain"])
def test_the_reason_that_comes_before_a_failure_is_its_reason(failure):
    """Dr.COM's switch says why in a Notification; its Failure has a number at most."""
    relay = desk()
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START), 1.0)
    relay.feed(WAN, eap(1, 1, b"\1"), 1.0)
    relay.feed(LAN, eap(2, 1, b"\1alice", src=PC, dst=SWITCH), 1.0)
    relay.feed(WAN, from_switch("drcom-notification"), 1.1)
    relay.feed(WAN, eap(4, 3) if failure == "plain" else from_switch(failure), 1.2)
    assert relay.hooks == ["failure"]
    assert relay.session.last_message.startswith("userid error3")
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START), 2.0)
    relay.feed(WAN, eap(1, 1, b"\1"), 2.0)
    relay.feed(WAN, eap(4, 2), 2.1)
    assert relay.session.last_message == "no reason given"  # the words were those of the login before


@pytest.mark.parametrize(
    "name", ["h3c-identity-response-online", "drcom-identity-response", "cernet-identity-response"]
)
def test_an_identity_is_repeated_with_the_routers_address_and_one_user_is_one(name):
    relay = desk()
    relay.feed(LAN, frames.build(frames.PAE_GROUP, PC, frames.START), 1.0)
    relay.feed(WAN, eap(1, 1, b"\1"), 1.0)
    relay.feed(LAN, SWITCH + PC + load(name)[12:], 1.0)
    relay.feed(WAN, eap(3, 2), 1.0)
    assert relay.session.memory.user == b"200000000001"
    relay.leave(2.0)
    (answer,) = relay.feed(WAN, eap(1, 9, b"\1"), 3.0)
    assert OLD_ADDRESS not in answer.body
    assert answer.body.count(NEW_ADDRESS) == 1


def test_an_answer_of_type_20_with_a_token_bears_the_routers_address():
    relay = desk()
    relay.login()
    relay.feed(WAN, eap(1, 6, b"\x14"), 2.0)
    relay.feed(LAN, SWITCH + PC + load("h3c-response-20-token")[12:], 2.1)
    relay.leave(3.0)
    (answer,) = relay.feed(WAN, eap(1, 7, b"\x14"), 4.0)
    said = frames.decode(load("h3c-response-20-token")).eap.data
    assert answer.eap.data == said.replace(OLD_ADDRESS, NEW_ADDRESS)


def test_cernets_keepalive_passes_and_its_absence_is_said_beforehand():
    relay = desk()
    relay.login()
    for at in (10.0, 40.0):
        (passed,) = relay.feed(LAN, SWITCH + PC + load("cernet-echo")[12:], at)
        assert (passed.type, passed.body) == (6, b"\xa5" * 42)
    assert len([line for line in relay.said if "CERNET's keep-alive" in line]) == 1
    relay.feed(LAN, SWITCH + PC + load("plain-mka")[12:], 50.0)
    assert len([line for line in relay.said if "CERNET's keep-alive" in line]) == 1


def test_a_new_token_is_no_new_user():
    """The token in an identity differs with each login; what the PC has said before stays proven."""
    memory = Memory()
    for token in (b"t", b"u"):
        data = b"\1\x16\x20" + token * 32 + b"\x15\4" + OLD_ADDRESS + b"alice"
        memory.ask(Eap(1, 1, b"\1", b""))
        memory.hear(frame := frames.decode(eap(2, 1, data)), frame.eap)
        assert token == b"t" or memory.same_user
        memory.prove()


def test_an_md5_answer_of_our_own_bears_the_routers_address():
    """Dr.COM's has the client's address behind the name, where EAP-MD5 has nothing."""
    memory = Memory(password=b"wonder")
    for raw in (eap(2, 0, b"\1alice"), PC + SWITCH + load("drcom-md5-response")[12:]):
        memory.hear(frame := frames.decode(raw), frame.eap)
    memory.prove()
    frame = frames.decode(eap(1, 5, b"\4\x10" + bytes(16)))
    answer = memory.answer(frame.eap, frame, WAN_MAC, KEEPALIVES["auto"], NEW_ADDRESS).frame
    assert answer.eap.data[18:] == b"200000000001\0Da*\0" + NEW_ADDRESS
