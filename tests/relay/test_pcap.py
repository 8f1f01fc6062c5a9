"""Captures are read and written; secrets never leave; every frame has its words."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.frames import Eap
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.switch import WELCOME, Rules, Switch
from shoestring.relay.service import decode, pcap
from shoestring.relay.vendors import ruijie

RECORDS = st.lists(st.tuples(st.integers(0, 2**31).map(float), st.binary(max_size=100)), max_size=5)


def login() -> list[bytes]:
    """The frames of one Ruijie login and an echo."""
    pc, switch = Pc(password=b"MyPassword"), Switch(Rules(password=b"MyPassword"))
    seen, todo = [], pc.switch_on(0.0)[0]
    while todo:
        seen += todo
        answers = [raw for frame in todo for raw in switch.feed(frame, 0.0)[0]]
        seen += answers
        todo = [raw for frame in answers for raw in pc.feed(frame, 0.0)[0]]
    return seen + pc.tick(30.0)[0]


@given(RECORDS)
def test_what_is_written_is_read(records):
    assert list(pcap.read(pcap.write(records))) == records


@pytest.mark.parametrize("order", "<>")
def test_foreign_byte_orders_and_nanoseconds_are_read(order):
    header = struct.pack(order + "IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    record = struct.pack(order + "IIII", 5, 500_000_000, 3, 3) + b"abc"
    assert list(pcap.read(header + record)) == [(5.5, b"abc")]


@given(st.binary(max_size=200))
def test_broken_files_are_an_error_not_a_crash(data):
    good = pcap.write([(1.0, b"frame")])
    for broken in (data, good[:24] + data, good[:-1]):
        with suppress(pcap.CaptureError):
            list(pcap.read(broken))


def test_pcapng_is_named():
    with pytest.raises(pcap.CaptureError, match="editcap"):
        list(pcap.read(b"\n\r\r\n" + bytes(40)))


def test_the_ring_is_bounded():
    ring = pcap.Ring(10)
    for number in range(100):
        ring.add((float(number), b"frame"))
    assert [when for when, _ in pcap.read(ring.pcap())] == [float(number) for number in range(90, 100)]


def test_no_hash_leaves_with_a_capture():
    ring = pcap.Ring(100)
    secrets = []
    for raw in login():
        ring.add((0.0, raw))
        eap = frames.decode(raw).eap
        if eap is not None and eap.code == frames.RESPONSE and eap.type == frames.MD5:
            secrets.append(eap.data[2:18])
            secrets += [
                data for type, data, _ in ruijie.parse_trailer(eap.trailer).properties if type == 0x2F
            ]
    data = ring.pcap()
    assert len(secrets) == 2
    assert all(len(secret) == 16 and secret not in data for secret in secrets)
    assert b"student" in data, "what is no secret stays readable"


@given(st.integers(1, 255).filter(lambda type: type not in pcap.HARMLESS), st.binary(min_size=8, max_size=60))
def test_responses_of_unknown_types_are_blanked_out(type, secret):
    body = frames.encode_eap(Eap(frames.RESPONSE, 1, bytes([type]) + b"\x08" + secret, b"\1" + secret))
    raw = frames.build(bytes(6), bytes(6), frames.EAP, body)
    redacted = pcap.redact(raw)
    assert len(redacted) == len(raw)
    assert not any(redacted[14 + 4 + 4 + 2 : 14 + 4 + 4 + 2 + min(8, len(secret))])


@given(st.binary(max_size=300))
def test_redaction_keeps_every_length_and_every_other_frame(data):
    raw = bytes(12) + frames.ETHERTYPE + data
    assert len(pcap.redact(raw)) == len(raw)
    assert pcap.redact(data) == data or data[12:14] in (frames.ETHERTYPE, *frames.TAG_TYPES)


def test_a_login_in_words():
    lines = [decode.line(raw) for raw in login()]
    text = "\n".join(lines)
    assert "PAE-group Start v1 | Ruijie dhcp 1 ip 192.168.1.2 mask 255.255.255.0" in lines[0]
    assert "2D MAC: 02:11:22:33:44:55" in lines[0]
    assert "6F client version: 'RG-SU For Linux V1.0'" in lines[0]
    assert "Request id 1 Identity" in lines[1]
    assert "Identity 'student'" in lines[2]
    assert "MD5 challenge of 16 bytes, name 'switch'" in lines[3]
    assert "2F password hash: 16 bytes, hidden" in lines[4]
    assert f"00 message: {WELCOME!r}" in lines[5]
    assert "alive 300 s" in lines[5]
    assert "Ruijie echo v1 key" in lines[6]
    assert "number 0x2adb" in lines[6]
    assert "MyPassword" not in text


@given(st.binary(max_size=400))
def test_any_bytes_have_one_printable_line(data):
    for raw in (data, bytes(12) + frames.ETHERTYPE + data, bytes(12) + b"\x88\x8e\1\0\0\x20\2" + data):
        line = decode.line(raw)
        assert "\n" not in line
        assert line.isprintable()
