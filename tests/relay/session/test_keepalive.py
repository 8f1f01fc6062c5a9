"""The echo has one writer and an unbroken count; answers are computed or repeated, a hash is never replayed."""

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.frames import (
    CLEAR,
    IDENTITY,
    MD5,
    NAK,
    NOTIFICATION,
    ONLINE,
    REQUEST,
    RESPONSE,
    Eap,
    Frame,
)
from shoestring.relay.session.keepalive import Echo
from shoestring.relay.session.memory import Memory
from shoestring.relay.settings.settings import KEEPALIVES
from shoestring.relay.vendors import ruijie, ruijie_client

ALL = KEEPALIVES["auto"]
WAN, SWITCH, PC = b"\2WAN-A", b"\0SWTCH", b"\2PC-PC"
NOWHERE = bytes(4)


def said(data: bytes, trailer: bytes = b"", id: int = 9) -> tuple[Frame, Eap]:
    eap = Eap(RESPONSE, id, data, trailer)
    return Frame(frames.PAE_GROUP, PC, b"", 1, frames.EAP, 4 + len(data), frames.encode_eap(eap)), eap


def knows(*responses: tuple[Frame, Eap], identity=None, password=None) -> Memory:
    """A memory of a PC whose responses a Success has proven."""
    memory = Memory(identity, password)
    for frame, eap in responses:
        memory.hear(frame, eap)
    memory.prove()
    return memory


def asked(data: bytes, id: int = 5) -> tuple[Eap, Frame]:
    eap = Eap(REQUEST, id, data, b"")
    return eap, Frame(WAN, SWITCH, b"", 1, frames.EAP, 4 + len(data), frames.encode_eap(eap))


def answer(memory: Memory, data: bytes, id: int = 5, address: bytes = NOWHERE):
    return memory.answer(*asked(data, id), WAN, ALL, address)


def challenge(data: bytes) -> bytes:
    return bytes([MD5, len(data)]) + data + b"switch"


# The echo


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_relay_goes_on_where_the_pc_stopped_also_over_the_wrap(key, number):
    echo = Echo(0.0, key, pc_present=True)
    assert echo.hear(key, number, 20.0)
    assert ruijie.parse_echo(echo.write(45.0)) == (key, (number + 1) % 2**32)
    assert ruijie.parse_echo(echo.write(65.0)) == (key, (number + 2) % 2**32)


def test_once_the_relay_has_written_the_pc_is_not_let_through():
    echo = Echo(0.0, 1, pc_present=False)
    echo.write(30.0)
    assert not echo.hear(1, 7, 31.0)
    assert echo.number == 0x102B


def test_the_interval_is_learned_and_the_pc_gets_some_grace():
    echo = Echo(0.0, 1, pc_present=True)
    for at in (20.0, 40.0, 60.0):
        assert echo.due > at
        echo.hear(1, int(at), at)
    assert echo.interval == 20
    assert 80 < echo.due <= 86
    echo.pc_left(61.0)
    assert echo.due == 80


@pytest.mark.parametrize("alive", [0.0, 5.0, 20.0, 30.0, 300.0])
@pytest.mark.parametrize("interval", [20.0, 30.0, 60.0])
def test_a_pc_that_echoes_as_clients_do_is_there_whatever_the_switch_calls_alive(alive, interval):
    echo, at = Echo(0.0, 1, alive, pc_present=True), 0.0
    for number in range(5):
        at += interval
        assert echo.due > at
        assert echo.hear(1, number, at)


@pytest.mark.parametrize("alive", [10.0, 20.0, 60.0, 300.0])
def test_without_a_pc_echoes_come_at_least_twice_per_alive_time(alive):
    echo = Echo(0.0, 1, alive)
    assert echo.due <= alive / 2
    echo.write(echo.due)
    assert echo.due <= alive


def test_a_late_wake_up_does_not_make_a_burst():
    echo = Echo(0.0, 1)
    echo.write(1000.0)
    assert echo.due >= 1015


@given(st.floats(0, 100), st.floats(-1e9, 1e9))
def test_a_restored_echo_goes_on_with_the_count_and_never_waits_longer_than_before(pause, elapsed):
    echo = Echo(0.0, 7, 300)
    echo.write(30.0)
    again = Echo.restored(echo.snapshot(30.0 + pause), 5.0, elapsed)
    assert 5.0 <= again.due <= 5.0 + echo.interval
    assert ruijie.parse_echo(again.write(again.due)) == (7, echo.number + 1)


# Answers


def test_a_cached_identity_is_repeated_with_the_new_id_and_not_another_byte_changed():
    odd = frames.decode(
        bytes(12) + bytes.fromhex("888e01000017 0205001701 616c696365") + b"beyond both lengths"
    )
    frame = odd._replace(body=odd.body[:2] + b"\0\x09" + odd.body[4:])  # its lengths are one short
    memory = knows((frame, frame.eap))
    repeated = answer(memory, bytes([IDENTITY]), 77).frame
    assert repeated.body == bytes([RESPONSE, 77]) + frame.body[2:]
    assert repeated.length == frame.length


def test_the_address_in_an_identity_is_the_routers():
    inode = b"\x15\x04\xc0\0\2\x38\x06\x07" + b"V" * 28 + b"  alice"
    for before in (inode, inode[6:36] + inode[:6] + inode[36:], b"alice\0Da\0\0\xc0\0\2\x38"):
        repeated = answer(knows(said(b"\1" + before)), b"\1", address=b"\x0a\1\2\3").frame.eap.data
        assert repeated == b"\1" + before.replace(b"\xc0\0\2\x38", b"\x0a\1\2\3")
        assert answer(knows(said(b"\1" + before)), b"\1").frame.eap.data == b"\1" + before, "unknown: kept"


@pytest.mark.parametrize("kind", [ONLINE, CLEAR, NOTIFICATION])
def test_what_h3c_asks_on_line_is_answered_as_the_pc_did(kind):
    memory = Memory(password=b"wonder")
    memory.hear(*said(b"\1alice"))
    memory.ask(asked(bytes([kind]), 9)[0])
    memory.hear(*said(bytes([kind]) + b"the PC's answer"))
    memory.prove()
    assert answer(memory, bytes([kind]), 78).frame.eap == Eap(
        RESPONSE, 78, bytes([kind]) + b"the PC's answer", b""
    )


def test_type_20_may_have_been_answered_by_an_identity():
    memory = Memory()
    memory.ask(asked(bytes([ONLINE]), 9)[0])
    memory.hear(*said(b"\1alice"))
    memory.prove()
    assert answer(memory, bytes([ONLINE]), 78).frame.eap.data == b"\1alice"


def test_type_20_is_never_declined():
    for memory in (Memory(), Memory(b"alice", b"wonder"), knows(said(b"\1alice"), password=b"wonder")):
        assert answer(memory, bytes([ONLINE])) == (None, "")


def test_what_no_success_has_proven_is_not_repeated():
    memory = knows(said(b"\1alice"), password=b"wonder")
    memory.hear(*said(b"\1guest"))
    assert answer(memory, b"\1").frame.eap.data == b"\1alice"
    memory.forget_heard()
    memory.prove()
    assert memory.user == b"alice"


def test_a_configured_identity_wins_and_takes_the_pcs_frame_only_if_the_user_is_the_same():
    inode = b"\x15\x04\xc0\0\2\x38\x06\x07" + b"V" * 28 + b"  alice"
    assert answer(knows(said(b"\1" + inode), identity=b"alice"), b"\1").frame.eap.data == b"\1" + inode
    assert answer(knows(said(b"\1guest"), identity=b"alice"), b"\1").frame.eap.data == b"\1alice"


@given(st.binary(min_size=1, max_size=64), st.integers(0, 255))
def test_md5_answers_are_those_of_the_standard(data, id):
    found = answer(Memory(b"alice", b"wonder"), challenge(data), id).frame.eap
    assert found.data == b"\x04\x10" + md5(bytes([id]) + b"wonder" + data).digest() + b"alice"


def test_without_a_password_a_challenge_stays_unanswered_and_the_reason_names_the_flag():
    memory = knows(said(b"\1alice"), said(b"\4\x10" + bytes(16) + b"alice"))
    found = answer(memory, challenge(bytes(16)))
    assert found.frame is None
    assert "--password-file" in found.why


def test_the_pcs_hash_is_never_sent_again():
    old = md5(b"the PC's").digest()
    memory = knows(said(b"\1alice"), said(b"\4\x10" + old + b"alice"), password=b"wonder")
    assert old not in answer(memory, challenge(b"another")).frame.body


@pytest.mark.parametrize("program", [bytes(37), b"8021x.exe".ljust(32, b"\0") + bytes.fromhex("0500030069")])
@pytest.mark.parametrize("hashed", [b"", b"h" * 16])
def test_a_ruijie_answer_bears_this_challenges_hash_and_the_clients_own_layout(program, hashed):
    header = ruijie_client.Header(1, bytes(4), bytes(4), bytes(4), bytes(4))
    rest = ruijie.MAGIC + b"\x18\x06\0\0\0\0"  # a record outside the counted ones
    trailer = (
        ruijie_client.build_trailer(header, [(0x2D, PC), (0x2F, hashed), (0x4D, bytes(128))], program) + rest
    )
    memory = knows(said(b"\1alice"), said(b"\4\x10" + bytes(16) + b"alice", trailer), password=b"wonder")
    parsed = ruijie_client.parse_trailer(answer(memory, challenge(b"c" * 16)).frame.eap.trailer)
    hashes = {type: data for type, data, _ in parsed.properties}
    assert hashes == {
        0x2D: PC,
        0x2F: ruijie_client.password_hash(b"alice", b"c" * 16, b"wonder"),
        0x4D: bytes(128),
    }
    assert (parsed.program, parsed.rest) == (program, rest)


def test_where_the_vendors_own_hash_is_wanted_the_relay_says_so():
    header = ruijie_client.Header(1, bytes(4), bytes(4), bytes(4), bytes(4))
    trailer = ruijie_client.build_trailer(header, [(0x4D, b"f" * 128)])
    memory = knows(said(b"\1alice"), said(b"\4\x10" + bytes(16) + b"alice", trailer), password=b"wonder")
    found = answer(memory, challenge(b"c" * 16))
    assert found.frame is None
    assert "vendor" in found.why


def test_peap_is_declined_for_md5_where_a_password_is_known():
    assert answer(Memory(b"alice", b"wonder"), b"\x19\x20").frame.eap == Eap(
        RESPONSE, 5, bytes([NAK, MD5]), b""
    )


@pytest.mark.parametrize("data", [b"\4", b"\4\0", b"\4\x10short", b"\2", b"\1", b"\x14", b"\7"])
def test_odd_requests_are_answered_or_declined_but_never_raise(data):
    for memory in (Memory(), Memory(b"alice", b"wonder")):
        for allowed in KEEPALIVES.values():
            memory.answer(*asked(data), WAN, allowed, NOWHERE)
