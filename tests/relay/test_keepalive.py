"""The echo has one writer and an unbroken count; answers are computed, never replayed."""

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.frames import IDENTITY, MD5, REQUEST, RESPONSE, Eap, Frame
from shoestring.relay.session.keepalive import Echo, Memory
from shoestring.relay.settings.settings import KEEPALIVES
from shoestring.relay.vendors import ruijie

ALL = KEEPALIVES["auto"]


def said(data: bytes, trailer: bytes = b"") -> tuple[Frame, Eap]:
    eap = Eap(RESPONSE, 9, data, trailer)
    return Frame(frames.PAE_GROUP, b"\2PC-PC", b"", 1, frames.EAP, 4 + len(data), frames.encode_eap(eap)), eap


def challenge(data: bytes, id: int = 5) -> Eap:
    return Eap(REQUEST, id, bytes([MD5, len(data)]) + data + b"switch", b"")


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


@pytest.mark.parametrize("alive", [10.0, 60.0, 300.0])
def test_echoes_come_at_least_twice_per_alive_time(alive):
    echo = Echo(0.0, 1, alive, pc_present=True)
    assert echo.due <= alive / 2
    echo.write(echo.due)
    assert echo.due <= alive


def test_a_late_wake_up_does_not_make_a_burst():
    echo = Echo(0.0, 1)
    echo.write(1000.0)
    assert echo.due >= 1015


def test_a_cached_identity_is_repeated_with_the_new_id():
    memory = Memory()
    memory.hear(*said(b"\1alice", b"trailer"))
    answer = memory.answer(Eap(REQUEST, 77, bytes([IDENTITY]), b""), ALL)
    assert answer.eap == Eap(RESPONSE, 77, b"\1alice", b"trailer")


@given(st.binary(min_size=1, max_size=64), st.integers(0, 255))
def test_md5_answers_are_those_of_the_standard(data, id):
    memory = Memory(b"alice", b"wonder")
    answer = memory.answer(challenge(data, id), ALL)
    assert answer.eap.data == b"\x04\x10" + md5(bytes([id]) + b"wonder" + data).digest() + b"alice"


def test_without_a_password_a_challenge_stays_unanswered_and_the_reason_names_the_flag():
    memory = Memory()
    memory.hear(*said(b"\1alice"))
    memory.hear(*said(b"\4\x10" + bytes(16) + b"alice"))
    answer = memory.answer(challenge(bytes(16)), ALL)
    assert answer.eap is None
    assert "--password-file" in answer.why


def test_the_pcs_hash_is_never_sent_again():
    old = md5(b"the PC's").digest()
    memory = Memory(password=b"wonder")
    memory.hear(*said(b"\1alice"))
    memory.hear(*said(b"\4\x10" + old + b"alice"))
    assert old not in memory.answer(challenge(b"another"), ALL).eap.data


def test_a_ruijie_answer_bears_the_password_hash_of_this_challenge():
    header = ruijie.Header(1, bytes(4), bytes(4), bytes(4), bytes(4))
    trailer = ruijie.build_trailer(header, [(0x2D, b"\2PC-PC"), (0x2F, b""), (0x4D, b"")])
    memory = Memory(password=b"wonder")
    memory.hear(*said(b"\1alice", trailer))
    parsed = ruijie.parse_trailer(memory.answer(challenge(b"c" * 16), ALL).eap.trailer)
    hashes = {type: data for type, data, _ in parsed.properties}
    assert hashes[0x2F] == ruijie.password_hash(b"alice", b"c" * 16, b"wonder")


def test_where_the_vendors_own_hash_is_wanted_the_relay_says_so():
    header = ruijie.Header(1, bytes(4), bytes(4), bytes(4), bytes(4))
    memory = Memory(b"alice", b"wonder")
    memory.hear(*said(b"\4\x10" + bytes(16) + b"alice", ruijie.build_trailer(header, [(0x4D, b"f" * 128)])))
    answer = memory.answer(challenge(b"c" * 16), ALL)
    assert answer.eap is None
    assert "vendor" in answer.why


def test_peap_is_declined_for_md5_where_a_password_is_known():
    answer = Memory(b"alice", b"wonder").answer(Eap(REQUEST, 1, b"\x19\x20", b""), ALL)
    assert answer.eap == Eap(RESPONSE, 1, b"\3\4", b"")


@pytest.mark.parametrize("data", [b"\4", b"\4\0", b"\4\x10short", b"\2", b"\1"])
def test_odd_requests_are_answered_or_declined_but_never_raise(data):
    for memory in (Memory(), Memory(b"alice", b"wonder")):
        for allowed in KEEPALIVES.values():
            memory.answer(Eap(REQUEST, 0, data, b""), allowed)
